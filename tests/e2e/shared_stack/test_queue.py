"""The build queue: sequential builds, concurrent builds and canceled builds."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.live_events import reading_live_events
from tests.support.stacks.running_stack import AGENT_SLOTS, JsonObject, RunningStack
from tests.support.waiting import wait_until


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()  # the builds of a failed test would occupy the agent


def list_queued(stack: RunningStack, project_id: int) -> list[JsonObject]:
    entries = stack.admin.get("/developer/builds/queueds").json()
    return [entry for entry in entries if entry["project_id"] == project_id]


BUSY_REASON = "Waits for a free runner: all that fit are busy"


def test_builds_of_a_sequential_project_run_one_at_a_time(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    order = tmp_path / "order"
    steps = {"build": f'echo "start $CI_PIPELINE_ID" >> {order}\n{gate.script}echo "end $CI_PIPELINE_ID" >> {order}\n'}
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", steps), allow_concurrent_execution=False
    )
    builds = [stack.launch_build(project_id) for _ in range(3)]
    numbers = [stack.build_id_of(executor_id) for executor_id in builds]
    stack.wait_until_running(builds[0])
    waiting = list_queued(stack, project_id)
    assert [entry["executor_id"] for entry in waiting] == builds[1:]
    assert waiting[0]["project_name"] == stack.get_project(project_id)["name"]
    assert f"until build {numbers[0]} is finished" in waiting[0]["reason"]
    assert stack.read_live_log(builds[1])["step"] == "init"
    gate.open()
    assert [stack.wait_until_finished(executor_id)["exit_code"] for executor_id in builds] == [0, 0, 0]
    assert order.read_text().splitlines() == [f"{phase} {number}" for number in numbers for phase in ("start", "end")]


def test_builds_of_a_concurrent_project_run_at_the_same_time(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    project_id = stack.create_project(create_sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch_build(project_id) for _ in range(AGENT_SLOTS)]
    running = [stack.wait_until_running(executor_id)["executor_id"] for executor_id in builds]
    listed = [entry["executor_id"] for entry in stack.admin.get("/developer/builds/executeds").json()]
    assert set(running) <= set(listed)
    gate.open()
    assert [stack.wait_until_finished(executor_id)["exit_code"] for executor_id in builds] == [0] * AGENT_SLOTS


def test_a_build_without_a_free_runner_shows_the_reason(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    project_id = stack.create_project(create_sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch_build(project_id) for _ in range(AGENT_SLOTS + 1)]
    wait_until(
        lambda: [entry["reason"].partition(" (")[0] for entry in list_queued(stack, project_id)] == [BUSY_REASON]
    )
    gate.open()
    assert [stack.wait_until_finished(executor_id)["exit_code"] for executor_id in builds] == [0] * (AGENT_SLOTS + 1)


def test_canceling_a_queued_build_lets_the_next_one_run(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    marks = tmp_path / "marks"
    steps = {"build": f'echo "$CI_PIPELINE_ID" >> {marks}\n{gate.script}'}
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", steps), allow_concurrent_execution=False
    )
    first, killed, last = (stack.launch_build(project_id) for _ in range(3))
    stack.wait_until_running(first)
    assert stack.admin.delete(f"/developer/builds/kill/queued/{killed}").status_code == 204
    build = stack.wait_until_finished(killed)
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert build["output"] == "The build ended with exit code 143: Deployment aborted by user"
    assert killed not in [entry["executor_id"] for entry in list_queued(stack, project_id)]
    gate.open()
    assert [stack.wait_until_finished(executor_id)["exit_code"] for executor_id in (first, last)] == [0, 0]
    build_ids = [stack.build_id_of(executor_id) for executor_id in (first, last)]
    assert marks.read_text().split() == [str(build_id) for build_id in build_ids]
    listed = stack.admin.get(f"/developer/builds/by/project/{project_id}").json()
    assert [build["id"] for build in listed] == build_ids  # builds canceled in the queue are not listed
    wait_until(lambda: stack.get_project(project_id)["builds_id"] == build_ids)


def test_canceling_a_running_build_kills_its_processes_and_frees_its_slot(
    stack: RunningStack, tmp_path: Path, gate: Gate
) -> None:
    pids = tmp_path / "pids"
    script = f"""
if [ -e {gate.file} ]; then exit 0; fi
sleep 1000 & echo $! >> {pids}
(trap '' TERM; setsid sleep 1001) & echo $! >> {pids}
echo $$ >> {pids}; echo ready
wait
"""
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", {"build": script}), allow_concurrent_execution=False
    )
    killed, following = stack.launch_build(project_id), stack.launch_build(project_id)
    wait_until(lambda: "ready" in stack.read_live_log(killed, "build").get("log", ""))
    gate.open()
    processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    with reading_live_events(stack.admin) as reader:
        assert stack.admin.delete(f"/developer/builds/kill/executed/{killed}").status_code == 204
        build = stack.wait_until_finished(killed)
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build["id"]))
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert [name for name in reader.event_names_of_build(build["id"]) if name.startswith("Build")] == [
        "BuildKilled",
        "BuildFinished",
    ]
    assert stack.wait_until_finished(following)["exit_code"] == 0
    wait_until(
        lambda: not any(process.is_running() for process in processes), 15, "processes of the build are still running"
    )
    assert list(stack.read_log(build["id"]))[-1] == "abort"


def test_canceling_a_finished_build_is_rejected(stack: RunningStack, good_project: int) -> None:
    finished = stack.launch_build(good_project)
    stack.wait_until_finished(finished)
    response = stack.admin.delete(f"/developer/builds/kill/executed/{finished}")
    assert (response.status_code, response.json()["message"]) == (404, "EXECUTOR_NOT_FOUND")


def test_deleting_a_project_ends_its_running_and_queued_builds(stack: RunningStack, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1002 & echo $! >> {pids}\necho $$ >> {pids}; echo ready\nwait\n"
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", {"build": script}), allow_concurrent_execution=False
    )
    running, waiting = stack.launch_build(project_id), stack.launch_build(project_id)
    wait_until(lambda: "ready" in stack.read_live_log(running, "build").get("log", ""))
    processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    numbers = [stack.build_id_of(executor_id) for executor_id in (running, waiting)]
    assert stack.admin.delete(f"/admin/projects/{project_id}").status_code == 204
    wait_until(
        lambda: not any(process.is_running() for process in processes), 15, "processes of the build are still running"
    )
    wait_until(lambda: list_queued(stack, project_id) == [])
    wait_until(lambda: {stack.admin.get(f"/developer/builds/{build_id}").status_code for build_id in numbers} == {404})
    executing = [entry["executor_id"] for entry in stack.admin.get("/developer/builds/executeds").json()]
    assert not {running, waiting} & set(executing)
    assert stack.admin.get(f"/developer/builds/by/project/{project_id}").status_code == 404
