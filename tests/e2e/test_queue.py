"""Builds that wait for each other, builds that run side by side, and builds that somebody kills."""

from pathlib import Path

import psutil
import pytest

from tests.support.live_events import listening
from tests.support.repositories import Gate, sample_repository
from tests.support.stack import Answer, RunningStack, until


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def queued(stack: RunningStack, project_id: int) -> list[Answer]:
    entries = stack.admin.get("/developer/builds/queueds").json()
    return [one for one in entries if one["project_id"] == project_id]


BUSY = "Waits for a free runner: all that fit are busy"


def test_builds_of_a_project_that_wants_it_so_run_one_after_the_other(
    stack: RunningStack, tmp_path: Path, gate: Gate
) -> None:
    order = tmp_path / "order"
    steps = {"build": f'echo "start $CI_PIPELINE_ID" >> {order}\n{gate.script}echo "end $CI_PIPELINE_ID" >> {order}\n'}
    project_id = stack.project(sample_repository(tmp_path / "repository", steps), allow_concurrent_execution=False)
    builds = [stack.launch(project_id) for _ in range(3)]
    numbers = [stack.build_id(one) for one in builds]
    stack.running(builds[0])
    waiting = queued(stack, project_id)
    assert [one["executor_id"] for one in waiting] == builds[1:]
    assert waiting[0]["project_name"] == stack.shown(project_id)["name"]
    assert f"until build {numbers[0]} is over" in waiting[0]["reason"]
    assert stack.live(builds[1])["step"] == "init"
    gate.open()
    assert [stack.finished(one)["exit_code"] for one in builds] == [0, 0, 0]
    assert order.read_text().splitlines() == [f"{what} {number}" for number in numbers for what in ("start", "end")]


def test_builds_of_other_projects_run_at_the_same_time(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    project_id = stack.project(sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch(project_id) for _ in range(3)]
    running = [stack.running(one)["executor_id"] for one in builds]
    listed = [one["executor_id"] for one in stack.admin.get("/developer/builds/executeds").json()]
    assert set(running) <= set(listed)
    gate.open()
    assert [stack.finished(one)["exit_code"] for one in builds] == [0, 0, 0]


def test_a_build_without_a_free_runner_says_so(stack: RunningStack, tmp_path: Path, gate: Gate) -> None:
    project_id = stack.project(sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch(project_id) for _ in range(5)]  # the agent has four slots
    until(lambda: [one["reason"].partition(" (")[0] for one in queued(stack, project_id)] == [BUSY])
    gate.open()
    assert [stack.finished(one)["exit_code"] for one in builds] == [0] * 5


def test_killing_a_build_that_waits_ends_it_and_the_next_one_gets_its_turn(
    stack: RunningStack, tmp_path: Path, gate: Gate
) -> None:
    marks = tmp_path / "marks"
    steps = {"build": f'echo "$CI_PIPELINE_ID" >> {marks}\n{gate.script}'}
    project_id = stack.project(sample_repository(tmp_path / "repository", steps), allow_concurrent_execution=False)
    first, killed, last = (stack.launch(project_id) for _ in range(3))
    stack.running(first)
    assert stack.admin.delete(f"/developer/builds/kill/queued/{killed}").status_code == 204
    build = stack.finished(killed)
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert build["output"] == "The build ended with exit code 143: Deployment aborted by user"
    assert killed not in [one["executor_id"] for one in queued(stack, project_id)]
    gate.open()
    assert [stack.finished(one)["exit_code"] for one in (first, last)] == [0, 0]
    built = [stack.build_id(one) for one in (first, last)]
    assert marks.read_text().split() == [str(one) for one in built]
    listed = stack.admin.get(f"/developer/builds/by/project/{project_id}").json()
    assert [one["id"] for one in listed] == built  # what was killed in the queue is in no list of builds
    until(lambda: stack.shown(project_id)["builds_id"] == built)


def test_killing_a_build_that_runs_ends_all_its_processes_and_frees_its_lane(
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
    project_id = stack.project(
        sample_repository(tmp_path / "repository", {"build": script}), allow_concurrent_execution=False
    )
    killed, following = stack.launch(project_id), stack.launch(project_id)
    until(lambda: "ready" in stack.live(killed, "build").get("log", ""))
    gate.open()
    processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    with listening(stack.admin) as reader:
        assert stack.admin.delete(f"/developer/builds/kill/executed/{killed}").status_code == 204
        build = stack.finished(killed)
        until(lambda: "BuildFinished" in reader.names(build["id"]))
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert [name for name in reader.names(build["id"]) if name.startswith("Build")] == ["BuildKilled", "BuildFinished"]
    assert stack.finished(following)["exit_code"] == 0
    until(lambda: not any(process.is_running() for process in processes), 15, "processes of the build go on")
    assert list(stack.log(build["id"]))[-1] == "abort"


def test_killing_what_is_over_is_told_so(stack: RunningStack, good_project: int) -> None:
    over = stack.launch(good_project)
    stack.finished(over)
    answer = stack.admin.delete(f"/developer/builds/kill/executed/{over}")
    assert (answer.status_code, answer.json()["message"]) == (404, "EXECUTOR_NOT_FOUND")


def test_a_deleted_project_ends_what_runs_of_it_and_leaves_nothing_in_the_queue(
    stack: RunningStack, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1002 & echo $! >> {pids}\necho $$ >> {pids}; echo ready\nwait\n"
    project_id = stack.project(
        sample_repository(tmp_path / "repository", {"build": script}), allow_concurrent_execution=False
    )
    running, waiting = stack.launch(project_id), stack.launch(project_id)
    until(lambda: "ready" in stack.live(running, "build").get("log", ""))
    processes = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    numbers = [stack.build_id(one) for one in (running, waiting)]
    assert stack.admin.delete(f"/admin/projects/{project_id}").status_code == 204
    until(lambda: not any(process.is_running() for process in processes), 15, "processes of the build go on")
    until(lambda: queued(stack, project_id) == [])
    until(lambda: {stack.admin.get(f"/developer/builds/{one}").status_code for one in numbers} == {404})
    executing = [one["executor_id"] for one in stack.admin.get("/developer/builds/executeds").json()]
    assert not {running, waiting} & set(executing)
    assert stack.admin.get(f"/developer/builds/by/project/{project_id}").status_code == 404
