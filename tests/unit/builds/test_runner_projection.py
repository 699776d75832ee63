"""Wait reasons of queued jobs, and the projection of runners."""

from datetime import UTC, datetime

import pytest

from contracts.builds import JobRequirements
from contracts.messages import Event
from contracts.runners import (
    RunnerDeleted,
    RunnerEdited,
    RunnerInfo,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.builds.dispatch.runner_projection import (
    QueueRunnerRow,
    apply_runner_event,
    busy_reason,
    find_eligible_runners,
    runner_projection,
)

PLAIN = JobRequirements()
GPU = JobRequirements(tags=("gpu", "linux"))
PROTECTED = JobRequirements(protected=True)
IDLE = QueueRunnerRow(uuid="r-1", name="miller", online=True)
LINUX = IDLE.replace(uuid="r-2", name="linux", tags=("linux",))
WITH_GPU = IDLE.replace(uuid="r-3", name="gpu", tags=("gpu",))
BOTH = IDLE.replace(uuid="r-4", name="both", tags=("gpu", "linux"))
PICKY = LINUX.replace(run_untagged=False)
GUARD = IDLE.replace(name="guard", protected=True)
STRANGER = IDLE.replace(owner_type="PROJECT", owner_id=2)
OTHER_COMPANYS = IDLE.replace(owner_type="COMPANY", owner_id=2)

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
    ("requirements", "runners", "reason"),
    [
        (PLAIN, [], "none is registered"),
        (PLAIN, [STRANGER, OTHER_COMPANYS], "all runners belong to other projects or companies"),
        (GPU, [IDLE, LINUX], "no runner has the tag gpu"),
        (GPU, [IDLE], "no runner has the tags gpu, linux"),
        (GPU, [LINUX, WITH_GPU], "no runner has all of its tags: gpu, linux"),
        (GPU, [STRANGER.replace(tags=("gpu", "linux")), LINUX], "no runner has the tag gpu"),
        (PLAIN, [PICKY], "it has no tags, and linux may only take jobs with tags"),
        (PLAIN, [GUARD], "its branch is not protected, and guard may only take protected ones"),
        (PLAIN, [IDLE.replace(active=False), PICKY], "those that fit are paused: miller"),
        (PLAIN, [IDLE.replace(online=False), LINUX.replace(online=False)], "those that fit are offline: linux, miller"),
    ],
)
def test_the_wait_reason_of_an_unassignable_job_says_what_is_missing(
    requirements: JobRequirements, runners: list[QueueRunnerRow], reason: str
) -> None:
    assert find_eligible_runners(requirements, 1, runners) == ([], f"Waits for a runner: {reason}.")


def test_eligible_runners_match_tags_protection_and_scope() -> None:
    assert find_eligible_runners(GPU, 1, [IDLE, LINUX, WITH_GPU, BOTH]) == ([BOTH], "")
    assert find_eligible_runners(PROTECTED, 1, [GUARD]) == ([GUARD], "")
    assert find_eligible_runners(PLAIN, 2, [STRANGER]) == ([STRANGER], "")
    assert find_eligible_runners(JobRequirements(company_id=2), 1, [OTHER_COMPANYS]) == ([OTHER_COMPANYS], "")


def test_the_wait_reason_of_an_assignable_job_says_what_runners_do() -> None:
    two_runners = [IDLE, LINUX]
    busy = "Waits for a free runner: all that fit are busy (linux, miller)."
    assert busy_reason(two_runners, {"r-1", "r-2"}, outranked=False) == busy
    assert busy_reason(two_runners, {"r-1"}, outranked=False) == "Waits until a runner requests a job: linux."
    outranked = "Waits for a free runner: jobs of a higher priority come first (linux, miller)."
    assert busy_reason(two_runners, {"r-1"}, outranked=True) == outranked


def test_the_wait_reason_names_at_most_three_runners() -> None:
    five_runners = [IDLE.replace(uuid=f"r-{number}", name=f"m{number}") for number in range(5)]
    assert (
        busy_reason(five_runners, set(), outranked=False)
        == "Waits until a runner requests a job: m0, m1, m2 and 2 more."
    )


def project_events(*events: Event) -> QueueRunnerRow:
    row = QueueRunnerRow()
    for event in events:
        row = apply_runner_event(
            row, RecordedEvent("runner-r-1", 1, 0, event, CommandMetadata("c", datetime(2026, 1, 2, tzinfo=UTC)))
        )
    return row


def test_the_runner_projection_follows_runner_events() -> None:
    runner_fields = {"runner_uuid": "r-1", "runner_id": 1}
    row = project_events(registered, RunnerOnline(**runner_fields))
    assert row == QueueRunnerRow(
        uuid="r-1", name="miller", tags=("linux",), owner_type="COMPANY", owner_id=4, active=True, online=True
    )
    edited = RunnerEdited(**runner_fields, name="new", tags=("mac",), active=True)
    assert project_events(registered, RunnerPaused(**runner_fields), edited) == row.replace(
        name="new", tags=("mac",), online=False
    )
    assert not project_events(registered, RunnerPaused(**runner_fields)).active
    assert not project_events(registered, RunnerOnline(**runner_fields), RunnerOffline(**runner_fields)).online
    assert runner_projection.is_deleted(project_events(registered, RunnerDeleted(**runner_fields)))
