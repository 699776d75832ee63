"""A stubborn client: launches builds, asks again until it has an answer, and waits for their end."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import httpx

BUILD_TIMEOUT = 120.0  # seconds: what has not ended by then is stuck
POLL_INTERVAL = 0.25
RETRY_PAUSE = 0.2  # before the same question is asked again


@dataclass(frozen=True, slots=True)
class LaunchedBuild:
    """An acknowledged launch, with the moments at which it was asked for, acknowledged and seen finished."""

    build_id: int
    executor_id: str
    requested_at: float
    acknowledged_at: float
    finished_at: float | None  # None: it is stuck


class BuildLauncher:
    def __init__(self, client: httpx.AsyncClient, projects: Sequence[int], random: Random) -> None:
        self._client = client
        self._projects = projects
        self._random = random
        self.launched: list[LaunchedBuild] = []

    async def run(self, builds: int, concurrency: int, keep_going: Callable[[], bool]) -> None:
        """At least that many builds, and others as long as `more` says so; so many of them under way at any time."""
        numbers = itertools.count()

        async def one_after_the_other() -> None:
            while next(numbers) < builds or keep_going():
                self.launched.append(await self._launch(self._random.choice(self._projects)))

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(one_after_the_other())

    async def _launch(self, project_id: int) -> LaunchedBuild:
        asked = time.monotonic()
        body: dict[str, Any] = {"build": {"ignore_steps": []}}
        answer = await self._request(
            "POST", f"/developer/builds/{project_id}", json=body, headers={"Idempotency-Key": uuid4().hex}
        )
        assert answer is not None, "a launch was not acknowledged in time"
        assert answer.status_code == 200, answer.text
        launched = answer.json()
        acknowledged = time.monotonic()
        finished = await self._wait_until_finished(launched["build_id"])
        return LaunchedBuild(launched["build_id"], launched["executor_id"], asked, acknowledged, finished)

    async def _wait_until_finished(self, build_id: int) -> float | None:
        deadline = time.monotonic() + BUILD_TIMEOUT
        while time.monotonic() < deadline:
            answer = await self._request("GET", f"/developer/builds/{build_id}")
            if answer is not None and answer.json().get("completed_at"):
                return time.monotonic()
            await asyncio.sleep(POLL_INTERVAL)
        return None

    async def _request(self, method: str, path: str, **sent: Any) -> httpx.Response | None:
        """The first answer that is no excuse; None if there is none in time."""
        deadline = time.monotonic() + BUILD_TIMEOUT
        while time.monotonic() < deadline:
            try:
                answer = await self._client.request(method, path, **sent)
            except httpx.TransportError:
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if answer.status_code < 500:
                return answer
            await asyncio.sleep(RETRY_PAUSE)
        return None
