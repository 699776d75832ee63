"""Canceling a build with a cleanup step."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.live_events import reading_live_events
from tests.support.stacks.running_stack import AGENT_SLOTS, RunningStack
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class CleanupProject:
    """A project with a build step and a cleanup step, which each wait at a gate.

    The cleanup step appends the build id to the file `marks` before it waits.
    """

    stack: RunningStack
    project_id: int
    marks: Path
    step: Gate
    cleanup: Gate

    def start_build(self, *ignore_steps: str) -> str:
        """Launch a build and wait until its build step runs. Return its executor id."""
        executor_id = self.stack.launch_build(self.project_id, *ignore_steps)
        wait_until(lambda: "building" in self.stack.read_live_log(executor_id, "build").get("log", ""))
        return executor_id

    def cancel_build(self, executor_id: str) -> httpx.Response:
        return self.stack.admin.delete(f"/developer/builds/kill/executed/{executor_id}", timeout=40)

    def read_marks(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []


@dataclass(frozen=True)
class ThirdPartyRunner:
    """A runner whose requests the test sends, and the job that the runner received."""

    http: httpx.Client
    job: dict[str, Any]

    def send_state(self, **state: Any) -> tuple[int, str]:
        body = {"token": self.job["token"], **state}
        response = self.http.put(f"/jobs/{self.job['id']}", json=body)
        return response.status_code, response.headers["Job-Status"]


@pytest.fixture
def busy_agent(stack: RunningStack, tmp_path: Path) -> Iterator[None]:
    """Keep every slot of the stack's agent busy."""
    gate = Gate(tmp_path / "occupied")
    project_id = stack.create_project(create_sample_repository(tmp_path / "occupying", {"build": gate.script}))
    builds = [stack.launch_build(project_id) for _ in range(AGENT_SLOTS)]
    for build in builds:
        stack.wait_until_running(build)
    yield
    gate.open()
    for build in builds:
        stack.wait_until_finished(build)


@contextmanager
def third_party_runner(stack: RunningStack, **features: bool) -> Iterator[ThirdPartyRunner]:
    """Register a runner, receive the only queued job, and report it as running. After the block, delete the runner."""
    registration = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    with httpx.Client(base_url=f"{stack.url}/api/v4", timeout=40) as http:
        token = http.post("/runners", json={"token": registration, "run_untagged": True}).json()["token"]
        job = http.post("/jobs/request", json={"token": token, "info": {"features": features}}).json()
        runner = ThirdPartyRunner(http, job)
        assert runner.send_state(state="running") == (200, "running")
        yield runner
        http.request("DELETE", "/runners", json={"token": token})


@pytest.fixture
def cleanup_project(stack: RunningStack, tmp_path: Path) -> Iterator[CleanupProject]:
    step, cleanup, marks = Gate(tmp_path / "step"), Gate(tmp_path / "cleanup"), tmp_path / "marks"
    steps = {
        "build": f"echo made > made; export EXPORTED=yes; echo building\n{step.script}",
        "cleanup": f'echo "cleaning $(cat made) $CI_JOB_STATUS <$EXPORTED> $TIDY_TOKEN"\n'
        f'echo "$CI_PIPELINE_ID" >> {marks}\n{cleanup.script}echo cleaned',
    }
    secret = stack.create("secret", name="TIDY_TOKEN", value="tidy-secret-value")
    project_id = stack.create_project(
        create_sample_repository(tmp_path / "repository", steps),
        allow_concurrent_execution=False,
        secrets_id=[secret["id"]],
    )
    yield CleanupProject(stack, project_id, marks, step, cleanup)
    step.open()
    cleanup.open()


def test_a_canceled_build_cleans_up_once_and_the_request_waits_for_it(
    stack: RunningStack, cleanup_project: CleanupProject
) -> None:
    cleanup_project.cleanup.open()
    canceled = cleanup_project.start_build()
    with reading_live_events(stack.admin) as reader:
        assert cleanup_project.cancel_build(canceled).status_code == 204
        build = stack.get_build(canceled)
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build["id"]))
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert cleanup_project.read_marks() == [str(build["id"])]
    log = stack.read_log(build["id"])
    assert list(log) == ["init", "build", "cleanup", "abort"]
    assert "cleaning made canceled <> [MASKED]" in log["cleanup"]
    assert "cleaned" in log["cleanup"]
    sections = [
        stack.admin.get(f"/developer/logs/{build['id']}/{before}").json() for before in ("init", "build", "cleanup")
    ]
    assert [(section["step"], section["success"]) for section in sections] == [
        ("build", False),
        ("cleanup", True),
        ("abort", False),
    ]
    names = [name for name in reader.event_names_of_build(build["id"]) if name.startswith(("Build", "Job"))]
    assert names == ["BuildKilled", "JobCanceling", "JobFinished", "BuildFinished"]


def test_a_build_that_cleans_up_is_listed_logged_and_holds_its_slot(
    stack: RunningStack, cleanup_project: CleanupProject
) -> None:
    canceled = cleanup_project.start_build()
    following = stack.launch_build(cleanup_project.project_id)
    responses: list[httpx.Response] = []
    cancel_thread = threading.Thread(target=lambda: responses.append(cleanup_project.cancel_build(canceled)))
    cancel_thread.start()
    wait_until(lambda: "cleaning made" in stack.read_live_log(canceled, "cleanup").get("log", ""))
    assert canceled in [entry["executor_id"] for entry in stack.admin.get("/developer/builds/executeds").json()]
    assert following in [entry["executor_id"] for entry in stack.admin.get("/developer/builds/queueds").json()]
    assert stack.get_build(canceled)["status"] == "CANCELING"
    assert cancel_thread.is_alive()
    cleanup_project.cleanup.open()
    cancel_thread.join()
    assert [response.status_code for response in responses] == [204]
    cleanup_project.step.open()
    assert stack.wait_until_finished(following)["exit_code"] == 0


def test_a_cleanup_survives_a_crash_of_the_builds_service(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    canceled = cleanup_project.start_build()
    responses: list[httpx.Response] = []
    cancel_thread = threading.Thread(target=lambda: responses.append(cleanup_project.cancel_build(canceled)))
    cancel_thread.start()
    wait_until(cleanup_project.read_marks)
    for replica in range(2):
        stack.stop_process(f"builds-{replica}", signal.SIGKILL)
    stack.wait_until_ready()
    cleanup_project.cleanup.open()
    build = stack.wait_until_finished(canceled)
    cancel_thread.join()
    assert [response.status_code for response in responses] == [204]
    assert (build["exit_code"], cleanup_project.read_marks()) == (143, [str(build["id"])])
    assert "cleaned" in stack.read_log(build["id"])["cleanup"]


def test_a_second_cancel_does_not_wait_for_the_cleanup(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    canceled = cleanup_project.start_build()
    cancel_thread = threading.Thread(target=lambda: cleanup_project.cancel_build(canceled))
    cancel_thread.start()
    wait_until(lambda: "cleaning made" in stack.read_live_log(canceled, "cleanup").get("log", ""))
    assert cleanup_project.cancel_build(canceled).status_code == 204
    build = stack.get_build(canceled)
    cancel_thread.join()
    assert (build["exit_code"], build["status"]) == (143, "KILLED")
    log = stack.read_log(build["id"])
    assert list(log) == ["init", "build", "cleanup", "abort"]
    assert "cleaned" not in log["cleanup"]
    assert cleanup_project.cancel_build(canceled).json()["message"] == "EXECUTOR_NOT_FOUND"


def test_a_successful_build_does_not_clean_up(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    cleanup_project.step.open()
    build = stack.run_build(cleanup_project.project_id)
    assert build["exit_code"] == 0
    assert list(stack.read_log(build["id"])) == ["init", "build"]
    assert cleanup_project.read_marks() == []


def test_a_build_canceled_in_the_queue_does_not_clean_up(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    first, canceled = cleanup_project.start_build(), stack.launch_build(cleanup_project.project_id)
    assert stack.admin.delete(f"/developer/builds/kill/queued/{canceled}").status_code == 204
    cleanup_project.step.open()
    assert stack.wait_until_finished(canceled)["exit_code"] == 143
    assert stack.wait_until_finished(first)["exit_code"] == 0
    assert cleanup_project.read_marks() == []


def test_an_ignored_cleanup_step_does_not_run(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    canceled = cleanup_project.start_build("@cleanup")
    assert cleanup_project.cancel_build(canceled).status_code == 204
    build = stack.wait_until_finished(canceled)
    assert (build["exit_code"], list(stack.read_log(build["id"]))[-1]) == (143, "abort")
    assert "cleanup" not in stack.read_log(build["id"])
    assert cleanup_project.read_marks() == []


def test_a_build_can_be_canceled_at_any_time(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    cleanup_project.step.open()
    cleanup_project.cleanup.open()
    responses = []
    builds = []
    for tenth in range(12):
        builds.append(stack.launch_build(cleanup_project.project_id))
        time.sleep(tenth * 0.04)  # cancel each build a little later than the one before
        responses.append(cleanup_project.cancel_build(builds[-1]))
    assert {response.status_code for response in responses} <= {204, 404}
    assert {response.json()["message"] for response in responses if response.status_code == 404} <= {
        "EXECUTOR_NOT_FOUND"
    }
    assert {stack.wait_until_finished(build)["exit_code"] for build in builds} <= {0, 143}
    assert stack.run_build(cleanup_project.project_id)["exit_code"] == 0


@pytest.mark.usefixtures("busy_agent")
def test_a_runner_without_graceful_cancel_gets_no_cleanup(stack: RunningStack, cleanup_project: CleanupProject) -> None:
    canceled = stack.launch_build(cleanup_project.project_id)
    with third_party_runner(stack) as runner:
        assert [step["name"] for step in runner.job["steps"]] == ["script"]
        assert cleanup_project.cancel_build(canceled).status_code == 204
        assert stack.get_build(canceled)["exit_code"] == 143
        assert runner.send_state(state="running") == (403, "canceled")


@pytest.mark.usefixtures("busy_agent")
def test_a_runner_with_graceful_cancel_cleans_up_and_ends_the_build(
    stack: RunningStack, cleanup_project: CleanupProject
) -> None:
    canceled = stack.launch_build(cleanup_project.project_id)
    with third_party_runner(stack, cancel_gracefully=True) as runner:
        assert [(step["name"], step["when"]) for step in runner.job["steps"]] == [
            ("script", "on_success"),
            ("after_script", "always"),
        ]
        cancel_thread = threading.Thread(target=lambda: cleanup_project.cancel_build(canceled))
        cancel_thread.start()
        wait_until(lambda: runner.send_state(state="running") == (200, "canceling"))
        assert cancel_thread.is_alive()
        final = {"state": "failed", "failure_reason": "job_canceled"}
        assert runner.send_state(**final)[0] == 200
        cancel_thread.join()
        assert stack.get_build(canceled)["exit_code"] == 143
        assert runner.send_state(**final)[0] == 200
        assert runner.send_state(state="running") == (403, "canceled")
