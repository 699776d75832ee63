"""Kill -9 of anything at any moment: no acknowledged build is lost, doubled or stuck, and views follow from the log."""

import itertools
import os
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.audit import Verdict
from tests.chaos.killing import KINDS, each_in_turn, pairs
from tests.chaos.report import Report
from tests.chaos.storm import QUICK, Ground, storm
from tests.support.stack import running_stack

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
    seen = await storm(ground, each_in_turn(SEED), builds=50, seed=SEED, pauses=(0.2, 1.5))
    report.add("each in turn", seen)
    assert seen.verdict == Verdict()


@long
@on_both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_processes_of_one_kind_die_again_and_again(ground: Ground, report: Report, kind: str, seed: int) -> None:
    seen = await storm(ground, itertools.repeat((kind,)), builds=50, seed=seed, pauses=(0.3, 4.0))
    report.add(f"{kind}, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()


@long
@on_both
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
@pytest.mark.timeout(600)
async def test_two_processes_die_at_once_again_and_again(ground: Ground, report: Report, seed: int) -> None:
    seen = await storm(ground, pairs(seed), builds=50, seed=seed, pauses=(0.3, 4.0))
    report.add(f"two at once, {ground.replicas} replicas", seen)
    assert seen.verdict == Verdict()
