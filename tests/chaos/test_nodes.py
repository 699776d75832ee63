"""A stack with three MongoDB members and three NATS servers survives the loss of its servers, and loses no build."""

import os
import sys
from collections.abc import Iterator
from random import Random

import pytest

from tests.chaos.node_faults import (
    MAJORITY_FAULTS,
    NODES,
    SINGLE_FAULTS,
    Fault,
    in_turn,
    kill_the_primary,
    kill_the_stream_leader,
)
from tests.chaos.report import ChaosReport
from tests.chaos.storm import SHORT_TIMEOUTS, ChaosStack, run_storm
from tests.support.stacks.log_consistency import Verdict
from tests.support.stacks.running_stack import running_stack

SEED = int(os.environ.get("HEADRACE_CHAOS_SEED", "1"))
ROUNDS = int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0"))  # 0: the short form of the test

pytestmark = pytest.mark.timeout(900)
long_form = pytest.mark.skipif(ROUNDS == 0, reason="takes long; run `make chaos`")


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> Iterator[ChaosReport]:
    report = ChaosReport()
    yield report
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n".join(("", *report.lines(), "")))


@pytest.fixture(scope="module")
def chaos_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChaosStack]:
    folder = tmp_path_factory.mktemp("nodes")
    environment = SHORT_TIMEOUTS | {"HEADRACE_NODES": str(NODES)}
    with running_stack(folder / "stack", replicas=2, slots=4, environment=environment) as stack:
        yield ChaosStack.prepare(stack, 2, folder)


async def test_builds_survive_the_loss_of_the_primary_and_of_a_stream_leader(
    chaos_stack: ChaosStack, report: ChaosReport
) -> None:
    disturbance = in_turn(chaos_stack.stack, [kill_the_primary, kill_the_stream_leader])
    result = await run_storm(chaos_stack, disturbance, seed=SEED, builds=12)
    report.add("one node killed", result)
    assert result.verdict == Verdict()


@long_form
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
async def test_builds_survive_faults_of_single_servers(chaos_stack: ChaosStack, report: ChaosReport, seed: int) -> None:
    faults = Random(seed).sample(sorted(SINGLE_FAULTS.items()), len(SINGLE_FAULTS))  # noqa: S311
    result = await run_storm(chaos_stack, in_turn(chaos_stack.stack, [fault for _, fault in faults]), seed=seed)
    report.add("single servers", result)
    assert result.verdict == Verdict()


@long_form
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.parametrize("fault", MAJORITY_FAULTS.values(), ids=MAJORITY_FAULTS)
async def test_builds_survive_the_loss_of_a_majority(
    chaos_stack: ChaosStack, report: ChaosReport, fault: Fault, seed: int
) -> None:
    result = await run_storm(chaos_stack, in_turn(chaos_stack.stack, [fault]), seed=seed, builds=20)
    report.add("a majority", result)
    assert result.verdict == Verdict()
