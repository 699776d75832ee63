"""A service that is not there: its commands are refused at once, and the same key later does the work once."""

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

from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import JsonObject, RunningStack, running_stack, wait_until

SOON = 4.0  # seconds in which a service that is down must be told; one that is silent is after five
TIME_LIMIT = 6  # seconds a build may take on this stack
HANGING = """
sleep 77000 &
(trap '' TERM INT HUP; exec setsid sleep 77001) &
setsid nohup sleep 77002 > /dev/null 2>&1 &
echo hanging
sleep 77003
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    environment = {"HEADRACE_BUILD_TIMEOUT_SECONDS": str(TIME_LIMIT)}
    with running_stack(tmp_path_factory.mktemp("small") / "data", replicas=1, environment=environment) as stack:
        yield stack


@pytest.fixture(scope="module")
def project_id(small: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> int:
    return small.create_project(create_sample_repository(tmp_path_factory.mktemp("small") / "repository"))


@contextmanager
def down(stack: RunningStack, service: str) -> Iterator[None]:
    """Without the service: killed, and its supervisor held so that it does not start it again."""
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


def told(stack: RunningStack, path: str, body: Mapping[str, Any], key: str) -> tuple[httpx.Response, float]:
    begun = time.monotonic()
    answer = stack.admin.post(path, json=body, headers={"Idempotency-Key": key})
    return answer, time.monotonic() - begun


def project_named(name: str, stack: RunningStack) -> JsonObject:
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


def user_named(name: str, _stack: RunningStack) -> JsonObject:
    return {"developer": {"username": name, "password": "a good one", "roles": ["ROLE_DEVELOPER"]}}


COMMANDS = {
    "projects": ("/admin/projects", project_named, "/developer/projects", "name"),
    "identity": ("/admin/developers", user_named, "/developer/developers", "username"),
}


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_fails_fast_without_its_service_and_succeeds_once_later(service: str, small: RunningStack) -> None:
    path, body_of, listing, field = COMMANDS[service]
    name, key = f"one-{uuid4().hex[:8]}", uuid4().hex
    body = body_of(name, small)
    assert small.admin.get("/user/info").status_code == 200
    with down(small, service):
        refused, took = told(small, path, body, key)
    assert (refused.status_code, refused.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert took < SOON
    assert name not in small.admin.get(listing).text
    first, _ = told(small, path, body, key)
    again, _ = told(small, path, body, key)
    assert (first.status_code, first.json()) == (201, again.json())
    assert [one[field] for one in small.admin.get(listing).json()].count(name) == 1


@pytest.mark.parametrize("service", ["builds", "projects"])
def test_a_launch_fails_fast_if_a_required_service_is_down(service: str, small: RunningStack, project_id: int) -> None:
    key, before = uuid4().hex, len(builds_of(small, project_id))
    with down(small, service):
        refused, took = told(small, f"/developer/builds/{project_id}", {}, key)
    assert (refused.status_code, refused.json()["message"]) == (503, "SERVICE_UNAVAILABLE")
    assert took < SOON
    first, _ = told(small, f"/developer/builds/{project_id}", {}, key)
    again, _ = told(small, f"/developer/builds/{project_id}", {}, key)
    assert (first.status_code, first.json()) == (200, again.json())
    assert small.wait_until_finished(first.json()["build_id"])["exit_code"] == 0
    assert len(builds_of(small, project_id)) == before + 1


def test_a_hanging_service_times_out_and_a_retry_has_one_effect(small: RunningStack, project_id: int) -> None:
    key, before = uuid4().hex, len(builds_of(small, project_id))
    process = small.wait_for_pid("builds-0")
    os.kill(process, signal.SIGSTOP)
    try:
        late, took = told(small, f"/developer/builds/{project_id}", {}, key)
    finally:
        os.kill(process, signal.SIGCONT)
    assert (late.status_code, late.json()["message"]) == (504, "SERVICE_TIMEOUT")
    assert took < 10
    first, _ = told(small, f"/developer/builds/{project_id}", {}, key)
    assert first.status_code == 200
    assert small.wait_until_finished(first.json()["build_id"])["exit_code"] == 0
    assert len(builds_of(small, project_id)) == before + 1


def test_builds_continue_without_the_services_they_do_not_need(small: RunningStack, project_id: int) -> None:
    with down(small, "notifications"):
        assert small.run_build(project_id)["exit_code"] == 0


def test_a_hanging_build_is_killed_with_all_its_processes(small: RunningStack, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": HANGING, "test": "echo never\n"})
    build = small.run_build(small.create_project(repository))
    assert (build["exit_code"], build["status"]) == (124, "FAILED")
    assert f"{TIME_LIMIT} seconds" in build["exit_message"]
    wait_until(lambda: not sleepers(), 15, "processes of the build go on")
    assert "hanging" in small.read_log(build["id"])["build"]
    assert "test" not in small.read_log(build["id"])


def sleepers() -> list[list[str]]:
    lines = (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if line and line[0] == "sleep" and line[1] in {"77000", "77001", "77002", "77003"}]


def builds_of(stack: RunningStack, project_id: int) -> list[JsonObject]:
    return list(stack.admin.get(f"/developer/builds/by/project/{project_id}").json())
