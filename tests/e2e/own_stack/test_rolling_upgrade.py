"""A rolling upgrade from the last release under load, with replicas of both versions side by side."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from infra.local.data_folder import DataFolder
from infra.service_catalog import SERVICES
from tests.chaos.storm import WORK_SCRIPT
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.audit import audit_stack
from tests.support.stacks.build_launcher import BuildLauncher, LaunchedBuild
from tests.support.stacks.log_consistency import Verdict
from tests.support.stacks.mixed_stack import MixedStack, mixed_stack
from tests.support.stacks.release_code import ReleaseNotBuildable, get_release_code
from tests.support.waiting import wait_until

RELEASE = "0.2.0"
CONCURRENT_BUILDS = 3
BUILDS_PER_STAGE = 3  # builds that must finish before the upgrade continues
AGENT_SLOTS = 4  # concurrent jobs of the agent
RETRYABLE = {503, 504}
NEW_EVENTS = ("ProjectSettingsChanged", "SecretSettingsChanged")  # the old release does not know them
VISITED_PATHS = (
    "/developer/projects",
    "/developer/builds/queueds",
    "/developer/builds/executeds",
    "/admin/developers",
    "/admin/companies",
    "/admin/runners?size=10",
    "/admin/history/project/1",
)
PAUSE_SECONDS = 0.1  # between rounds of requests, and before a request is repeated
SETTLE_TIMEOUT = 30.0  # maximum seconds until the new release has updated rows written by the old one


@dataclass
class Load:
    """Launches builds, reads resources and edits projects throughout the upgrade."""

    stack: MixedStack
    projects: tuple[int, ...]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    launched: list[LaunchedBuild] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    descriptions: int = 0

    async def run(self) -> None:
        async with (
            httpx.AsyncClient(
                base_url=f"{self.stack.url}/api",
                headers={"Authorization": self.stack.admin.headers["Authorization"]},
                timeout=20,
                event_hooks={"response": [self._count]},
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            launches = BuildLauncher(client, self.projects, Random(1))  # noqa: S311
            self.launched = launches.launched
            group.create_task(launches.run(0, CONCURRENT_BUILDS, keep_going=lambda: not self.stop.is_set()))
            group.create_task(self._visit(client))

    async def _count(self, response: httpx.Response) -> None:
        self.statuses[f"{response.request.method} {response.request.url.path}", response.status_code] += 1

    async def _visit(self, client: httpx.AsyncClient) -> None:
        while not self.stop.is_set():
            for path in VISITED_PATHS:
                await self._request(client, "GET", path)
            self.descriptions += 1
            edited = {"project": {"description": f"edited {self.descriptions} times"}}
            await self._request(client, "PATCH", f"/admin/projects/{self.projects[0]}/description", json=edited)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _request(self, client: httpx.AsyncClient, method: str, path: str, **sent: Any) -> None:
        """Send a request. Repeat it if the status is 503 or 504, or if a gateway that stops closes the connection."""
        while True:
            try:
                response = await client.request(method, path, **sent)
            except httpx.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if response.status_code not in RETRYABLE:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    def have_finished_since(self, moment: float, builds: int) -> bool:
        return len([build for build in self.launched if build.requested_at > moment and build.finished_at]) >= builds


def await_builds(load: Load) -> None:
    started = time.monotonic()
    wait_until(lambda: load.have_finished_since(started, BUILDS_PER_STAGE), 60, "no builds come to their end")


def audit_until_clean(stack: MixedStack, launched: list[LaunchedBuild], executions: Path) -> Verdict:
    deadline = time.monotonic() + SETTLE_TIMEOUT
    while True:
        verdict = asyncio.run(audit_stack(stack, launched, executions))
        if verdict.is_clean or time.monotonic() > deadline:
            return verdict


@contextmanager
def under_load(load: Load) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        working: Future[None] = pool.submit(lambda: asyncio.run(load.run()))
        try:
            yield
        finally:
            load.stop.set()
            working.result(timeout=120)


@pytest.fixture(scope="module")
def release_code() -> Path:
    try:
        return get_release_code(RELEASE)
    except ReleaseNotBuildable as reason:
        pytest.skip(f"{RELEASE} cannot be started here: {reason}.")


@pytest.fixture
def stack(release_code: Path, tmp_path: Path) -> Iterator[MixedStack]:
    with mixed_stack(tmp_path / "stack", release_code) as stack:
        stack.run_once("old", stack.old.migration())
        stack.start("old", *stack.old.services(), *stack.old.gateways())
        stack.run_once("old", stack.old.agent_registration())
        config = DataFolder(stack.data).agent_config
        [runner] = json.loads(config.read_text())["runners"]
        config.write_text(json.dumps({"runners": [runner | {"concurrency": AGENT_SLOTS}]}))
        stack.start("old", stack.old.agent())
        with stack.sign_in("admin", stack.old.admin_password()) as stack.admin:
            yield stack


def find_unexpected(errors: list[str]) -> list[str]:
    """Return the errors, except those that old replicas log about events that only the new release knows."""
    entries = {error: json.loads(error.partition(": ")[2]) for error in errors if error.startswith("old-")}
    unknown = {
        entry["message"]
        for entry in entries.values()
        if any(f"UnknownEvent: {name} in version 1" in entry.get("exception", "") for name in NEW_EVENTS)
    }
    return [error for error in errors if error not in entries or entries[error]["message"] not in unknown]


@pytest.mark.nightly
@pytest.mark.timeout(240)
def test_a_rolling_upgrade_under_load_loses_and_repeats_nothing(stack: MixedStack, tmp_path: Path) -> None:
    executions = tmp_path / "executions"
    work = WORK_SCRIPT.format(file=executions, seconds="0.$(( CI_JOB_ID % 5 ))")
    repository = create_sample_repository(tmp_path / "repository", {"work": work})
    projects = stack.create_project(repository), stack.create_project(repository, allow_concurrent_execution=False)
    load = Load(stack, projects)
    assert set(stack.read_versions().values()) == {RELEASE}
    with under_load(load):
        await_builds(load)
        stack.run_once("new", stack.new.migration())
        stack.start("new", *stack.new.services())
        await_builds(load)
        for service in SERVICES:
            stack.stop(f"old {service}-0")
        await_builds(load)
        stack.start("new", *stack.new.gateways())
        stack.stop("old gateway-0")
        assert {name for name, version in stack.read_versions().items() if version == RELEASE} == {"old agent"}
        await_builds(load)
    unexpected = {
        request: count for request, count in load.statuses.items() if request[1] >= 300 and request[1] not in RETRYABLE
    }
    assert unexpected == {}
    assert audit_until_clean(stack, load.launched, executions) == Verdict()
    assert stack.get_project(projects[0])["description"] == f"edited {load.descriptions} times"
    assert find_unexpected(stack.list_logged_errors()) == []
