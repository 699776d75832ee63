"""Graceful shutdown: processes finish their work, and clients see no errors."""

from pathlib import Path

import pytest

from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.live_events import reading_live_events
from tests.support.stacks.running_stack import SERVICES, RunningStack
from tests.support.waiting import wait_until

MAX_SHUTDOWN_SECONDS = 10.0  # maximum time from SIGTERM to the end of a process


async def test_every_build_launched_during_restarts_of_leaders_and_gateways_finishes(
    stack: RunningStack, tmp_path: Path
) -> None:
    project_id = stack.create_project(create_sample_repository(tmp_path / "repository", {"build": "sleep 0.5\n"}))
    builds, shutdown_seconds = [], {}
    for name in [*[await stack.get_leader(service) for service in SERVICES], "gateway-0"]:
        builds.append(stack.launch_build(project_id))
        shutdown_seconds[name] = stack.stop_process(name)
    stack.wait_until_ready()
    finished = [stack.wait_until_finished(build) for build in builds]
    assert [build["exit_code"] for build in finished] == [0] * len(builds)
    assert len({build["id"] for build in finished}) == len(builds)
    assert {name: seconds for name, seconds in shutdown_seconds.items() if seconds > MAX_SHUTDOWN_SECONDS} == {}


@pytest.mark.parametrize("name", ["agent", "nats-server", "mongod"])
def test_the_stack_works_after_a_restart_of_one_process(name: str, stack: RunningStack, good_project: int) -> None:
    assert stack.restart_process(name) < MAX_SHUTDOWN_SECONDS
    stack.wait_until_ready()
    assert stack.run_build(good_project)["exit_code"] == 0


def test_a_build_is_retried_after_its_agent_is_stopped(stack: RunningStack, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", {"build": f"echo up\n{gate.script}"})
    )
    build = stack.launch_build(project_id)
    wait_until(lambda: "up" in stack.read_live_log(build, "build").get("log", ""))
    with reading_live_events(stack.admin) as reader:
        stack.restart_process("agent", within=MAX_SHUTDOWN_SECONDS)
        gate.open()
        assert stack.wait_until_finished(build)["exit_code"] == 0
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(stack.build_id_of(build)))
    names = [name for name in reader.event_names_of_build(stack.build_id_of(build)) if name.startswith("Job")]
    assert names == ["JobLost", "JobQueued", "JobAssigned", "JobStarted", "JobFinished"]
