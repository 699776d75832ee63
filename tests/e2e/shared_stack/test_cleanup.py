"""Killing a build that has something to clean up."""

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
from tests.support.stacks.running_stack import RunningStack, wait_until

SLOTS = 4  # of the stack's own agent


@dataclass(frozen=True)
class Site:
    """A project whose step waits at a gate and whose clean-up leaves a mark, where it may wait at another gate."""

    stack: RunningStack
    project_id: int
    marks: Path
    step: Gate
    cleanup: Gate

    def started(self, *ignore_steps: str) -> str:
        """A build that works at its step."""
        executor_id = self.stack.launch_build(self.project_id, *ignore_steps)
        wait_until(lambda: "building" in self.stack.read_live_log(executor_id, "build").get("log", ""))
        return executor_id

    def kill(self, executor_id: str) -> httpx.Response:
        return self.stack.admin.delete(f"/developer/builds/kill/executed/{executor_id}", timeout=40)

    def marked(self) -> list[str]:
        return self.marks.read_text().split() if self.marks.exists() else []


@dataclass(frozen=True)
class ForeignRunner:
    """A runner that was written by somebody else, here by hand; the job it got."""

    http: httpx.Client
    job: dict[str, Any]

    def says(self, **state: Any) -> tuple[int, str]:
        body = {"token": self.job["token"], **state}
        answer = self.http.put(f"/jobs/{self.job['id']}", json=body)
        return answer.status_code, answer.headers["Job-Status"]


@pytest.fixture
def occupied(stack: RunningStack, tmp_path: Path) -> Iterator[None]:
    """The stack's own agent has no free slot."""
    gate = Gate(tmp_path / "occupied")
    project_id = stack.create_project(create_sample_repository(tmp_path / "occupying", {"build": gate.script}))
    builds = [stack.launch_build(project_id) for _ in range(SLOTS)]
    for build in builds:
        stack.wait_until_running(build)
    yield
    gate.open()
    for build in builds:
        stack.wait_until_finished(build)


@contextmanager
def foreign_runner(stack: RunningStack, **features: bool) -> Iterator[ForeignRunner]:
    """It gets the one job that waits, and has begun."""
    registration = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    with httpx.Client(base_url=f"{stack.url}/api/v4", trust_env=False, timeout=40) as http:
        token = http.post("/runners", json={"token": registration, "run_untagged": True}).json()["token"]
        job = http.post("/jobs/request", json={"token": token, "info": {"features": features}}).json()
        runner = ForeignRunner(http, job)
        assert runner.says(state="running") == (200, "running")
        yield runner
        http.request("DELETE", "/runners", json={"token": token})


@pytest.fixture
def site(stack: RunningStack, tmp_path: Path) -> Iterator[Site]:
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
    yield Site(stack, project_id, marks, step, cleanup)
    step.open()
    cleanup.open()


def test_a_canceled_build_cleans_up_once_and_the_request_waits_for_it(stack: RunningStack, site: Site) -> None:
    site.cleanup.open()
    killed = site.started()
    with reading_live_events(stack.admin) as reader:
        assert site.kill(killed).status_code == 204
        build = stack.get_build(killed)
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build["id"]))
    assert (build["exit_code"], build["exit_message"]) == (143, "Deployment aborted by user")
    assert site.marked() == [str(build["id"])]
    log = stack.read_log(build["id"])
    assert list(log) == ["init", "build", "cleanup", "abort"]
    assert "cleaning made canceled <> [MASKED]" in log["cleanup"]
    assert "cleaned" in log["cleanup"]
    shown = [
        stack.admin.get(f"/developer/logs/{build['id']}/{before}").json() for before in ("init", "build", "cleanup")
    ]
    assert [(one["step"], one["success"]) for one in shown] == [("build", False), ("cleanup", True), ("abort", False)]
    names = [name for name in reader.event_names_of_build(build["id"]) if name.startswith(("Build", "Job"))]
    assert names == ["BuildKilled", "JobCanceling", "JobFinished", "BuildFinished"]


def test_a_build_that_cleans_up_is_listed_logged_and_holds_its_slot(stack: RunningStack, site: Site) -> None:
    killed = site.started()
    following = stack.launch_build(site.project_id)
    answers: list[httpx.Response] = []
    killing = threading.Thread(target=lambda: answers.append(site.kill(killed)))
    killing.start()
    wait_until(lambda: "cleaning made" in stack.read_live_log(killed, "cleanup").get("log", ""))
    assert killed in [one["executor_id"] for one in stack.admin.get("/developer/builds/executeds").json()]
    assert following in [one["executor_id"] for one in stack.admin.get("/developer/builds/queueds").json()]
    assert stack.get_build(killed)["status"] == "CANCELING"
    assert killing.is_alive()
    site.cleanup.open()
    killing.join()
    assert [answer.status_code for answer in answers] == [204]
    site.step.open()
    assert stack.wait_until_finished(following)["exit_code"] == 0


def test_a_cleanup_survives_a_crash_of_the_builds_service(stack: RunningStack, site: Site) -> None:
    killed = site.started()
    answers: list[httpx.Response] = []
    killing = threading.Thread(target=lambda: answers.append(site.kill(killed)))
    killing.start()
    wait_until(site.marked)
    for replica in range(2):
        stack.stop_process(f"builds-{replica}", signal.SIGKILL)
    stack.wait_until_ready()
    site.cleanup.open()
    build = stack.wait_until_finished(killed)
    killing.join()
    assert [answer.status_code for answer in answers] == [204]
    assert (build["exit_code"], site.marked()) == (143, [str(build["id"])])
    assert "cleaned" in stack.read_log(build["id"])["cleanup"]


def test_a_second_cancel_does_not_wait_for_the_cleanup(stack: RunningStack, site: Site) -> None:
    killed = site.started()
    killing = threading.Thread(target=lambda: site.kill(killed))
    killing.start()
    wait_until(lambda: "cleaning made" in stack.read_live_log(killed, "cleanup").get("log", ""))
    assert site.kill(killed).status_code == 204
    build = stack.get_build(killed)
    killing.join()
    assert (build["exit_code"], build["status"]) == (143, "KILLED")
    log = stack.read_log(build["id"])
    assert list(log) == ["init", "build", "cleanup", "abort"]
    assert "cleaned" not in log["cleanup"]
    assert site.kill(killed).json()["message"] == "EXECUTOR_NOT_FOUND"


def test_a_successful_build_does_not_clean_up(stack: RunningStack, site: Site) -> None:
    site.step.open()
    build = stack.run_build(site.project_id)
    assert build["exit_code"] == 0
    assert list(stack.read_log(build["id"])) == ["init", "build"]
    assert site.marked() == []


def test_a_build_canceled_in_the_queue_does_not_clean_up(stack: RunningStack, site: Site) -> None:
    first, killed = site.started(), stack.launch_build(site.project_id)
    assert stack.admin.delete(f"/developer/builds/kill/queued/{killed}").status_code == 204
    site.step.open()
    assert stack.wait_until_finished(killed)["exit_code"] == 143
    assert stack.wait_until_finished(first)["exit_code"] == 0
    assert site.marked() == []


def test_an_ignored_cleanup_step_does_not_run(stack: RunningStack, site: Site) -> None:
    killed = site.started("@cleanup")
    assert site.kill(killed).status_code == 204
    build = stack.wait_until_finished(killed)
    assert (build["exit_code"], list(stack.read_log(build["id"]))[-1]) == (143, "abort")
    assert "cleanup" not in stack.read_log(build["id"])
    assert site.marked() == []


def test_a_build_can_be_canceled_at_any_time(stack: RunningStack, site: Site) -> None:
    site.step.open()
    site.cleanup.open()
    answers = []
    builds = []
    for tenth in range(12):
        builds.append(stack.launch_build(site.project_id))
        time.sleep(tenth * 0.04)  # another moment of its life each time
        answers.append(site.kill(builds[-1]))
    assert {answer.status_code for answer in answers} <= {204, 404}
    assert {answer.json()["message"] for answer in answers if answer.status_code == 404} <= {"EXECUTOR_NOT_FOUND"}
    assert {stack.wait_until_finished(build)["exit_code"] for build in builds} <= {0, 143}
    assert stack.run_build(site.project_id)["exit_code"] == 0


@pytest.mark.usefixtures("occupied")
def test_a_runner_without_graceful_cancel_gets_no_cleanup(stack: RunningStack, site: Site) -> None:
    killed = stack.launch_build(site.project_id)
    with foreign_runner(stack) as runner:
        assert [step["name"] for step in runner.job["steps"]] == ["script"]
        assert site.kill(killed).status_code == 204
        assert stack.get_build(killed)["exit_code"] == 143
        assert runner.says(state="running") == (403, "canceled")


@pytest.mark.usefixtures("occupied")
def test_a_runner_with_graceful_cancel_cleans_up_and_ends_the_build(stack: RunningStack, site: Site) -> None:
    killed = stack.launch_build(site.project_id)
    with foreign_runner(stack, cancel_gracefully=True) as runner:
        assert [(step["name"], step["when"]) for step in runner.job["steps"]] == [
            ("script", "on_success"),
            ("after_script", "always"),
        ]
        killing = threading.Thread(target=lambda: site.kill(killed))
        killing.start()
        wait_until(lambda: runner.says(state="running") == (200, "canceling"))
        assert killing.is_alive()
        final = {"state": "failed", "failure_reason": "job_canceled"}
        assert runner.says(**final)[0] == 200
        killing.join()
        assert stack.get_build(killed)["exit_code"] == 143
        assert runner.says(**final)[0] == 200
        assert runner.says(state="running") == (403, "canceled")
