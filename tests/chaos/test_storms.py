"""Processes are killed at random times under load: no acknowledged build is lost, duplicated or stuck."""

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
from tests.support.stacks.log_consistency import Verdict
from tests.support.stacks.running_stack import SERVICES, running_stack

SEED = int(os.environ.get("HEADRACE_CHAOS_SEED", "1"))
AGENT_SLOTS = 4  # concurrent jobs of the agent
STOP_GRACE_SECONDS = 20  # stop_grace_period of docker-compose.yml: later, a process is killed
ROUNDS = int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0"))  # 0: the short form of the test


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[ChaosReport]:
    report = ChaosReport()
    yield report
    _print(request, "", *report.lines())


@pytest.fixture(scope="module")
def chaos_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosStack]:
    folder = tmp_path_factory.mktemp("chaos")
    with running_stack(
        folder / "stack", replicas=request.param, slots=AGENT_SLOTS, environment=SHORT_TIMEOUTS
    ) as stack:
        yield ChaosStack.prepare(stack, request.param, folder)


def _print(request: pytest.FixtureRequest, *lines: str) -> None:
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


long_form = pytest.mark.skipif(ROUNDS == 0, reason="takes long; run `make chaos`")
with_one_and_two_replicas = pytest.mark.parametrize(
    "chaos_stack", [1, 2], indirect=True, ids=["one replica", "two replicas"]
)
with_two_replicas = pytest.mark.parametrize("chaos_stack", [2], indirect=True, ids=["two replicas"])


@with_two_replicas
@pytest.mark.timeout(600)
async def test_killing_one_process_of_each_kind_during_builds_loses_nothing(
    chaos_stack: ChaosStack, report: ChaosReport
) -> None:
    builds = 50 if ROUNDS else 20
    disturbance = kill_once(one_of_each_kind(SEED))
    result = await run_storm(chaos_stack, disturbance, seed=SEED, builds=builds, pauses=(0.2, 1.0))
    report.add("each in turn", result)
    assert result.verdict == Verdict()


@long_form
@with_two_replicas
@pytest.mark.timeout(600)
async def test_a_frozen_leader_is_replaced_and_fenced_when_it_resumes(
    chaos_stack: ChaosStack, report: ChaosReport
) -> None:
    result = await run_storm(chaos_stack, freeze_leader("builds", 10), seed=SEED, builds=20)
    report.add("a frozen leader", result)
    assert result.verdict == Verdict()


@with_two_replicas
@pytest.mark.parametrize("server", [pytest.param("mongod", marks=long_form), "nats-server"])
async def test_services_shut_down_in_time_although_a_server_hangs(chaos_stack: ChaosStack, server: str) -> None:
    killer = ProcessKiller(chaos_stack.stack, SEED)
    assert await killer.stop_while_frozen(server, [f"{name}-0" for name in SERVICES]) < STOP_GRACE_SECONDS


@long_form
@with_one_and_two_replicas
@pytest.mark.parametrize("kind", PROCESS_KINDS)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_killing_processes_of_one_kind_repeatedly_loses_nothing(
    chaos_stack: ChaosStack, report: ChaosReport, kind: str, seed: int
) -> None:
    result = await run_storm(chaos_stack, kill_repeatedly(itertools.repeat((kind,))), seed=seed)
    report.add(f"{kind}, {chaos_stack.replicas} replicas", result)
    assert result.verdict == Verdict()


@long_form
@with_one_and_two_replicas
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_killing_two_processes_at_once_repeatedly_loses_nothing(
    chaos_stack: ChaosStack, report: ChaosReport, seed: int
) -> None:
    result = await run_storm(chaos_stack, kill_repeatedly(random_pairs(seed)), seed=seed)
    report.add(f"two at once, {chaos_stack.replicas} replicas", result)
    assert result.verdict == Verdict()


@long_form
@with_two_replicas
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.timeout(600)
async def test_a_frozen_leader_of_any_service_loses_nothing(
    chaos_stack: ChaosStack, report: ChaosReport, service: str
) -> None:
    result = await run_storm(chaos_stack, freeze_leader(service, 10), seed=SEED)
    report.add(f"the leader of {service}", result)
    assert result.verdict == Verdict()


@long_form
@with_two_replicas
async def test_a_database_outage_longer_than_a_lease_does_not_restart_a_running_job(chaos_stack: ChaosStack) -> None:
    executed = await run_outage(chaos_stack, "mongod", 14)
    assert [line.split()[0] for line in executed] == ["begin", "end"]
