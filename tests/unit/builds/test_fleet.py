"""Why nobody takes a job, in words; and the runners as their events make them."""

from datetime import UTC, datetime

import pytest

from contracts.builds import Demand
from contracts.messages import Event
from contracts.runners import (
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerOffline,
    RunnerOnline,
    RunnerRegistered,
    RunnerShutDown,
)
from libs.deciding import Cause, Recorded
from services.builds.fleet import FleetRow, able, engaged, enlist, fleet

PLAIN = Demand()
GPU = Demand(tags=("gpu", "linux"))
PROTECTED = Demand(protected=True)
IDLE = FleetRow(uuid="r-1", name="miller", online=True)
LINUX = IDLE.but(uuid="r-2", name="linux", tags=("linux",))
WITH_GPU = IDLE.but(uuid="r-3", name="gpu", tags=("gpu",))
BOTH = IDLE.but(uuid="r-4", name="both", tags=("gpu", "linux"))
PICKY = LINUX.but(run_untagged=False)
GUARD = IDLE.but(name="guard", protected=True)
STRANGER = IDLE.but(owner_type="PROJECT", owner_id=2)
OTHER_COMPANYS = IDLE.but(owner_type="COMPANY", owner_id=2)

registered = RunnerRegistered(
    runner_uuid="r-1",
    runner_id=1,
    token_hash="h",
    owner_type="COMPANY",
    owner_id=4,
    info=RunnerInfo(),
    ip_address="",
    name="miller",
    tags=("linux",),
)


@pytest.mark.parametrize(
    ("asked", "runners", "words"),
    [
        (PLAIN, [], "none is registered"),
        (PLAIN, [STRANGER, OTHER_COMPANYS], "all runners belong to other projects or companies"),
        (GPU, [IDLE, LINUX], "no runner has the tag gpu"),
        (GPU, [IDLE], "no runner has the tags gpu, linux"),
        (GPU, [LINUX, WITH_GPU], "no runner has all of its tags: gpu, linux"),
        (GPU, [STRANGER.but(tags=("gpu", "linux")), LINUX], "no runner has the tag gpu"),
        (PLAIN, [PICKY], "it has no tags, and linux may only take jobs with tags"),
        (PLAIN, [GUARD], "its branch is not protected, and guard may only take protected ones"),
        (PLAIN, [IDLE.but(active=False), PICKY], "those that fit are switched off: miller"),
        (PLAIN, [IDLE.but(online=False), LINUX.but(online=False)], "those that fit are offline: linux, miller"),
    ],
)
def test_a_job_that_nobody_can_take_says_what_is_missing(asked: Demand, runners: list[FleetRow], words: str) -> None:
    assert able(asked, 1, runners) == ([], f"Waits for a runner: {words}.")


def test_who_could_take_a_job_is_known() -> None:
    assert able(GPU, 1, [IDLE, LINUX, WITH_GPU, BOTH]) == ([BOTH], "")
    assert able(PROTECTED, 1, [GUARD]) == ([GUARD], "")
    assert able(PLAIN, 2, [STRANGER]) == ([STRANGER], "")
    assert able(Demand(company_id=2), 1, [OTHER_COMPANYS]) == ([OTHER_COMPANYS], "")


def test_a_job_that_runners_could_take_says_what_they_do() -> None:
    both = [IDLE, LINUX]
    busy = "Waits for a free runner: all that fit are busy (linux, miller)."
    assert engaged(both, {"r-1", "r-2"}, outranked=False) == busy
    assert engaged(both, {"r-1"}, outranked=False) == "Waits until a runner asks for work: linux."
    outranked = "Waits for a free runner: jobs of a higher priority come first (linux, miller)."
    assert engaged(both, {"r-1"}, outranked=True) == outranked


def test_a_sentence_names_a_few_runners() -> None:
    many = [IDLE.but(uuid=f"r-{number}", name=f"m{number}") for number in range(5)]
    assert engaged(many, set(), outranked=False) == "Waits until a runner asks for work: m0, m1, m2 and 2 more."


def folded(*events: Event) -> FleetRow:
    row = FleetRow()
    for event in events:
        row = enlist(row, Recorded("runner-r-1", 1, 0, event, Cause("c", datetime(2026, 1, 2, tzinfo=UTC))))
    return row


def test_the_fleet_follows_the_runners() -> None:
    here = {"runner_uuid": "r-1", "runner_id": 1}
    row = folded(registered, RunnerOnline(**here))
    assert row == FleetRow(
        uuid="r-1", name="miller", tags=("linux",), owner_type="COMPANY", owner_id=4, active=True, online=True
    )
    edited = RunnerEdited(**here, name="new", tags=("mac",), active=True)
    assert folded(registered, RunnerShutDown(**here), edited) == row.but(name="new", tags=("mac",), online=False)
    assert not folded(registered, RunnerShutDown(**here)).active
    assert not folded(registered, RunnerOnline(**here), RunnerOffline(**here)).online
    assert fleet.gone(folded(registered, RunnerDeleted(**here)))
