"""Processes that are told to leave: they finish what is in hand, and nobody outside notices."""

from pathlib import Path

import pytest

from tests.support.live_events import listening
from tests.support.repositories import Gate, sample_repository
from tests.support.stack import SERVICES, RunningStack, until

LONGEST = 10.0  # seconds from the signal to the end of a process
NAMES = (*SERVICES, "gateway")


def test_every_launch_of_a_rolling_restart_of_everything_comes_to_its_end(stack: RunningStack, tmp_path: Path) -> None:
    project_id = stack.project(sample_repository(tmp_path / "repository", {"build": "sleep 0.5\n"}))
    builds, took = [], {}
    for replica in range(2):
        for name in NAMES:
            builds.append(stack.launch(project_id))
            took[f"{name}-{replica}"] = stack.end(f"{name}-{replica}")
        stack.settle()
    finished = [stack.finished(build) for build in builds]
    assert [build["exit_code"] for build in finished] == [0] * len(builds)
    assert len({build["id"] for build in finished}) == len(builds)
    assert {name: seconds for name, seconds in took.items() if seconds > LONGEST} == {}


@pytest.mark.parametrize("name", ["agent", "nats-server", "mongod"])
def test_a_stack_works_again_after_the_restart_of_its(name: str, stack: RunningStack, good_project: int) -> None:
    assert stack.restart(name) < LONGEST
    stack.settle()
    assert stack.run(good_project)["exit_code"] == 0


def test_a_build_whose_agent_is_told_to_leave_is_tried_again(stack: RunningStack, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    project_id = stack.project(sample_repository(tmp_path / "repository", {"build": f"echo up\n{gate.script}"}))
    build = stack.launch(project_id)
    until(lambda: "up" in stack.live(build, "build").get("log", ""))
    with listening(stack.admin) as reader:
        stack.restart("agent", within=LONGEST)
        gate.open()
        assert stack.finished(build)["exit_code"] == 0
        until(lambda: "BuildFinished" in reader.names(stack.build_id(build)))
    names = [name for name in reader.names(stack.build_id(build)) if name.startswith("Job")]
    assert names == ["JobLost", "JobQueued", "JobAssigned", "JobStarted", "JobFinished"]
