"""A client that launches builds, repeats each launch until it is acknowledged, and waits until the builds finish."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import httpx

BUILD_TIMEOUT = 120.0  # seconds after which an unfinished build counts as stuck
POLL_INTERVAL = 0.25
RETRY_PAUSE = 0.2  # seconds between the repetitions of a request


@dataclass(frozen=True, slots=True)
class LaunchedBuild:
    """A build whose launch was acknowledged. Its times are values of `time.monotonic()`."""

    build_id: int
    executor_id: str
    requested_at: float
    acknowledged_at: float
    finished_at: float | None  # when the end was observed; None: the build is stuck


class BuildLauncher:
    def __init__(self, client: httpx.AsyncClient, projects: Sequence[int], random: Random) -> None:
        self._client = client
        self._projects = projects
        self._random = random
        self.launched: list[LaunchedBuild] = []

    async def run(self, builds: int, concurrency: int, keep_going: Callable[[], bool]) -> None:
        """Launch `builds` builds, `concurrency` at a time, and continue as long as `keep_going` returns true."""
        numbers = itertools.count()

        async def launch_repeatedly() -> None:
            while next(numbers) < builds or keep_going():
                self.launched.append(await self._launch(self._random.choice(self._projects)))

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(launch_repeatedly())

    async def _launch(self, project_id: int) -> LaunchedBuild:
        requested_at = time.monotonic()
        body: dict[str, Any] = {"build": {"ignore_steps": []}}
        response = await self._request(
            "POST", f"/developer/builds/{project_id}", json=body, headers={"Idempotency-Key": uuid4().hex}
        )
        assert response is not None, "the launch was not acknowledged in time"
        assert response.status_code == 200, response.text
        launched = response.json()
        acknowledged = time.monotonic()
        finished = await self._wait_until_finished(launched["build_id"])
        return LaunchedBuild(launched["build_id"], launched["executor_id"], requested_at, acknowledged, finished)

    async def _wait_until_finished(self, build_id: int) -> float | None:
        deadline = time.monotonic() + BUILD_TIMEOUT
        while time.monotonic() < deadline:
            response = await self._request("GET", f"/developer/builds/{build_id}")
            if response is not None and response.json().get("completed_at"):
                return time.monotonic()
            await asyncio.sleep(POLL_INTERVAL)
        return None

    async def _request(self, method: str, path: str, **request_arguments: Any) -> httpx.Response | None:
        """Repeat the request until its status is below 500. Return None after BUILD_TIMEOUT."""
        deadline = time.monotonic() + BUILD_TIMEOUT
        while time.monotonic() < deadline:
            try:
                response = await self._client.request(method, path, **request_arguments)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if response.status_code < 500:
                return response
            await asyncio.sleep(RETRY_PAUSE)
        return None
