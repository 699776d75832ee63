"""Commands to a stopped service fail fast, and a retry with the same idempotency key takes effect once."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.e2e.traced_stack.traced_build import BUILD_TIMEOUT_SECONDS, TracedBuild
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import JsonObject, RunningStack
from tests.support.waiting import wait_until

MAX_FAILURE_SECONDS = 7.0  # less than the request timeout of eight seconds
HANGING_SCRIPT = """
sleep 77000 &
(trap '' TERM INT HUP; exec setsid sleep 77001) &
setsid nohup sleep 77002 > /dev/null 2>&1 &
echo hanging
sleep 77003
"""


@pytest.fixture(scope="module")
def small_stack(traced_stack: RunningStack, traced_build: TracedBuild) -> RunningStack:
    """Return the stack after its traced build, because a killed service loses its metrics."""
    return traced_stack


@pytest.fixture(scope="module")
def project_id(small_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> int:
    return small_stack.create_project(create_sample_repository(tmp_path_factory.mktemp("small") / "repository"))


@contextmanager
def service_down(stack: RunningStack, service: str) -> Iterator[None]:
    """Kill the service, and suspend the supervisor for the block: it would restart the service.

    After the block, wait until the service is ready.
    """
    state = stack.data / "run" / "lock"
    supervisor, process = int(state.read_text()), stack.wait_for_pid(f"{service}-0")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: f"{service} {service}-0" not in stack.list_nats_clients())
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_until(lambda: stack.wait_for_pid(f"{service}-0") != process and stack.is_ready(f"{service}-0"))


def timed_post(stack: RunningStack, path: str, body: Mapping[str, Any], key: str) -> tuple[httpx.Response, float]:
    started = time.monotonic()
    response = stack.admin.post(path, json=body, headers={"Idempotency-Key": key})
    return response, time.monotonic() - started


def project_body(name: str, stack: RunningStack) -> JsonObject:
    return {
        "project": {
            "name": name,
            "repository": "/nowhere",
            "branch": "main",
            "spec_file_path": "/headrace.yaml",
            "allow_concurrent_execution": True,
            "executor_id": stack.default_executor_id,
        }
    }


def user_body(name: str, _stack: RunningStack) -> JsonObject:
    return {"developer": {"username": name, "password": "a good one", "roles": ["ROLE_DEVELOPER"]}}


COMMANDS = {
    "projects": ("/admin/projects", project_body, "/developer/projects", "name"),
    "identity": ("/admin/developers", user_body, "/developer/developers", "username"),
}


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_fails_fast_without_its_service_and_succeeds_once_later(
    service: str, small_stack: RunningStack
) -> None:
    path, body_of, listing, field = COMMANDS[service]
    name, key = f"one-{uuid4().hex[:8]}", uuid4().hex
    body = body_of(name, small_stack)
    assert small_stack.admin.get("/user/info").status_code == 200
    with service_down(small_stack, service):
        refused, seconds = timed_post(small_stack, path, body, key)
    assert (refused.status_code, refused.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert seconds < MAX_FAILURE_SECONDS
    assert name not in small_stack.admin.get(listing).text
    first, _ = timed_post(small_stack, path, body, key)
    again, _ = timed_post(small_stack, path, body, key)
    assert (first.status_code, first.json()) == (201, again.json())
    assert [resource[field] for resource in small_stack.admin.get(listing).json()].count(name) == 1


@pytest.mark.parametrize("service", ["builds", "projects"])
def test_a_launch_fails_fast_if_a_required_service_is_down(
    service: str, small_stack: RunningStack, project_id: int
) -> None:
    key, before = uuid4().hex, len(list_builds(small_stack, project_id))
    with service_down(small_stack, service):
        refused, seconds = timed_post(small_stack, f"/developer/builds/{project_id}", {}, key)
    assert (refused.status_code, refused.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert seconds < MAX_FAILURE_SECONDS
    first, _ = timed_post(small_stack, f"/developer/builds/{project_id}", {}, key)
    again, _ = timed_post(small_stack, f"/developer/builds/{project_id}", {}, key)
    assert (first.status_code, first.json()) == (200, again.json())
    assert small_stack.wait_until_finished(first.json()["build_id"])["exit_code"] == 0
    assert len(list_builds(small_stack, project_id)) == before + 1


def test_a_hanging_service_times_out_and_a_retry_has_one_effect(small_stack: RunningStack, project_id: int) -> None:
    key, before = uuid4().hex, len(list_builds(small_stack, project_id))
    process = small_stack.wait_for_pid("builds-0")
    os.kill(process, signal.SIGSTOP)
    try:
        late, seconds = timed_post(small_stack, f"/developer/builds/{project_id}", {}, key)
    finally:
        os.kill(process, signal.SIGCONT)
    assert (late.status_code, late.json()["message"]) == (504, "SERVICE_TIMEOUT")
    assert seconds < 10
    first, _ = timed_post(small_stack, f"/developer/builds/{project_id}", {}, key)
    assert first.status_code == 200
    assert small_stack.wait_until_finished(first.json()["build_id"])["exit_code"] == 0
    assert len(list_builds(small_stack, project_id)) == before + 1


def test_builds_continue_without_the_services_they_do_not_need(small_stack: RunningStack, project_id: int) -> None:
    with service_down(small_stack, "notifications"):
        assert small_stack.run_build(project_id)["exit_code"] == 0


def test_a_hanging_build_is_killed_with_all_its_processes(small_stack: RunningStack, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": HANGING_SCRIPT, "test": "echo never\n"})
    build = small_stack.run_build(small_stack.create_project(repository))
    assert (build["exit_code"], build["status"]) == (124, "FAILED")
    assert f"{BUILD_TIMEOUT_SECONDS} seconds" in build["exit_message"]
    wait_until(lambda: not list_sleep_commands(), 15, "processes of the build are still running")
    assert "hanging" in small_stack.read_log(build["id"])["build"]
    assert "test" not in small_stack.read_log(build["id"])


def list_sleep_commands() -> list[list[str]]:
    lines = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if line and line[0] == "sleep" and line[1] in {"77000", "77001", "77002", "77003"}]


def list_builds(stack: RunningStack, project_id: int) -> list[JsonObject]:
    return list(stack.admin.get(f"/developer/builds/by/project/{project_id}").json())
