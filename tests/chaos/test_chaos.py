"""Kill -9 of anything at any moment: no acknowledged build is lost, doubled or stuck, and views follow from the log."""

import itertools
import os
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.audit import Verdict
from tests.chaos.killing import KINDS, Killer, each_in_turn, pairs
from tests.chaos.report import Report
from tests.chaos.storm import QUICK, Ground, again_and_again, frozen_leader, once, outage, storm
from tests.support.stack import SERVICES, running_stack

SEED = int(os.environ.get("HEADRACE_CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0"))  # 0: only the short form


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[Report]:
    report = Report()
    yield report
    _say(request, "", *report.lines())


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("chaos")
    with running_stack(folder / "stack", replicas=request.param, environment=QUICK) as stack:
        yield Ground.prepared(stack, request.param, folder)


def _say(request: pytest.FixtureRequest, *lines: str) -> None:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


long = pytest.mark.skipif(ROUNDS == 0, reason="it takes long: make chaos")
on_both = pytest.mark.parametrize("ground", [1, 2], indirect=True, ids=["one replica", "two replicas"])
on_two = pytest.mark.parametrize("ground", [2], indirect=True, ids=["two replicas"])


@on_two
@pytest.mark.timeout(600)
async def test_one_process_of_each_kind_dies_while_fifty_builds_run(ground: Ground, report: Report) -> None:
    seen = await storm(ground, once(each_in_turn(SEED)), seed=SEED, pauses=(0.2, 1.5))
    report.add("each in turn", seen)
    assert seen.verdict == Verdict()


@on_two
@pytest.mark.timeout(600)
async def test_a_leader_that_hangs_is_replaced_and_fenced_when_it_wakes(ground: Ground, report: Report) -> None:
    seen = await storm(ground, frozen_leader("builds", 10), seed=SEED, builds=20)
    report.add("a frozen leader", seen)
    assert seen.verdict == Verdict()


@on_two
@pytest.mark.parametrize("server", ["mongod", "nats-server"])
async def test_services_leave_in_time_although_a_server_hangs(ground: Ground, server: str) -> None:
    assert await Killer(ground.stack, SEED).dismiss(server, [f"{name}-0" for name in SERVICES]) < 10


@long
@on_both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_processes_of_one_kind_die_again_and_again(ground: Ground, report: Report, kind: str, seed: int) -> None:
    seen = await storm(ground, again_and_again(itertools.repeat((kind,))), seed=seed)
    report.add(f"{kind}, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()


@long
@on_both
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_two_processes_die_at_once_again_and_again(ground: Ground, report: Report, seed: int) -> None:
    seen = await storm(ground, again_and_again(pairs(seed)), seed=seed)
    report.add(f"two at once, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()


@long
@on_two
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(600)
async def test_the_leader_of_any_service_may_hang(ground: Ground, report: Report, service: str) -> None:
    seen = await storm(ground, frozen_leader(service, 10), seed=SEED)
    report.add(f"the leader of {service}", seen)
    assert seen.verdict == Verdict()


@long
@on_two
async def test_an_outage_of_the_database_longer_than_a_lease_costs_no_running_job(ground: Ground) -> None:
    executed = await outage(ground, "mongod", 14)
    assert [line.split()[0] for line in executed] == ["begin", "end"]
