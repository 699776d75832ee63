"""Kill -9 of anything at any moment: no acknowledged build is lost, doubled or stuck, and views follow from the log."""

import itertools
import os
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.process_killer import PROCESS_KINDS, ProcessKiller, one_of_each_kind, random_pairs
from tests.chaos.report import ChaosReport
from tests.chaos.storm import (
    SHORT_TIMEOUTS,
    ChaosStack,
    freeze_leader,
    kill_once,
    kill_repeatedly,
    run_outage,
    run_storm,
)
from tests.support.stacks.audit import Verdict
from tests.support.stacks.running_stack import SERVICES, running_stack

SEED = int(os.environ.get("HEADRACE_CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0"))  # 0: only the short form


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[ChaosReport]:
    report = ChaosReport()
    yield report
    _say(request, "", *report.lines())


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosStack]:
    folder = tmp_path_factory.mktemp("chaos")
    with running_stack(folder / "stack", replicas=request.param, environment=SHORT_TIMEOUTS) as stack:
        yield ChaosStack.prepare(stack, request.param, folder)


def _say(request: pytest.FixtureRequest, *lines: str) -> None:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


long = pytest.mark.skipif(ROUNDS == 0, reason="it takes long: make chaos")
on_both = pytest.mark.parametrize("ground", [1, 2], indirect=True, ids=["one replica", "two replicas"])
on_two = pytest.mark.parametrize("ground", [2], indirect=True, ids=["two replicas"])


@on_two
@pytest.mark.timeout(600)
async def test_killing_one_process_of_each_kind_during_builds_loses_nothing(
    ground: ChaosStack, report: ChaosReport
) -> None:
    seen = await run_storm(ground, kill_once(one_of_each_kind(SEED)), seed=SEED, pauses=(0.2, 1.5))
    report.add("each in turn", seen)
    assert seen.verdict == Verdict()


@on_two
@pytest.mark.timeout(600)
async def test_a_frozen_leader_is_replaced_and_fenced_when_it_resumes(ground: ChaosStack, report: ChaosReport) -> None:
    seen = await run_storm(ground, freeze_leader("builds", 10), seed=SEED, builds=20)
    report.add("a frozen leader", seen)
    assert seen.verdict == Verdict()


@on_two
@pytest.mark.parametrize("server", ["mongod", "nats-server"])
async def test_services_shut_down_in_time_although_a_server_hangs(ground: ChaosStack, server: str) -> None:
    assert await ProcessKiller(ground.stack, SEED).stop_while_frozen(server, [f"{name}-0" for name in SERVICES]) < 10


@long
@on_both
@pytest.mark.parametrize("kind", PROCESS_KINDS)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_killing_processes_of_one_kind_repeatedly_loses_nothing(
    ground: ChaosStack, report: ChaosReport, kind: str, seed: int
) -> None:
    seen = await run_storm(ground, kill_repeatedly(itertools.repeat((kind,))), seed=seed)
    report.add(f"{kind}, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()


@long
@on_both
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_killing_two_processes_at_once_repeatedly_loses_nothing(
    ground: ChaosStack, report: ChaosReport, seed: int
) -> None:
    seen = await run_storm(ground, kill_repeatedly(random_pairs(seed)), seed=seed)
    report.add(f"two at once, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()


@long
@on_two
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(600)
async def test_a_frozen_leader_of_any_service_loses_nothing(
    ground: ChaosStack, report: ChaosReport, service: str
) -> None:
    seen = await run_storm(ground, freeze_leader(service, 10), seed=SEED)
    report.add(f"the leader of {service}", seen)
    assert seen.verdict == Verdict()


@long
@on_two
async def test_a_database_outage_longer_than_a_lease_does_not_restart_a_running_job(ground: ChaosStack) -> None:
    executed = await run_outage(ground, "mongod", 14)
    assert [line.split()[0] for line in executed] == ["begin", "end"]
