"""One of three NATS servers hangs for a minute under load: launches pause for some seconds, and no job is lost."""

import asyncio
import itertools
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from tests.support.infrastructure.nats_cluster import frozen, nats_cluster
from tests.support.stacks.running_stack import RunningStack, create_sample_repository, running_stack, wait_until

FROZEN = 60.0  # seconds
LONGEST_PAUSE = 15.0
BETWEEN_LAUNCHES = 0.7

pytestmark = pytest.mark.skipif(not int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0")), reason="long: make chaos")


@dataclass
class Load:
    """Launches at a steady rate, each repeated until it is acknowledged."""

    client: httpx.AsyncClient
    project: int
    builds: list[int] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                group.create_task(self._launch())
                await asyncio.sleep(BETWEEN_LAUNCHES)

    async def _launch(self) -> None:
        headers = {"Idempotency-Key": uuid4().hex}
        while True:
            answer = await self.client.post(
                f"/developer/builds/{self.project}", json={"build": {"ignore_steps": []}}, headers=headers
            )
            if answer.status_code == 200:
                self.builds.append(answer.json()["build_id"])
                self.acknowledged.append(time.monotonic())
                return
            self.failures[answer.status_code] = self.failures.get(answer.status_code, 0) + 1
            await asyncio.sleep(0.3)

    def longest_pause(self) -> float:
        times = sorted(self.acknowledged)
        return max(later - earlier for earlier, later in itertools.pairwise(times))


async def lost(stack: RunningStack) -> list[str]:
    """Why jobs were lost that a runner had got, by the log; what reached no runner is queued again at once."""
    settings = Settings(mongodb_url=stack.mongodb_url)
    async with create_mongo_client(settings, "test") as client:
        commits = get_database(client, settings, "builds")["commits"].find({"events.name": "JobLost"})
        events = [one async for commit in commits for one in commit["events"] if one["name"] == "JobLost"]
        return [one["data"]["reason"] for one in events if one["data"]["delivered"]]


@pytest.mark.timeout(600)
async def test_a_nats_server_frozen_for_a_minute_loses_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_cluster(tmp_path) as cluster:
        environment = {"HEADRACE_NATS_URL": cluster.url(), "HEADRACE_STREAM_REPLICAS": "3"}
        with running_stack(tmp_path / "stack", environment=environment) as stack:
            project = stack.create_project(create_sample_repository(tmp_path / "repository"))
            async with httpx.AsyncClient(
                base_url=stack.admin.base_url, headers=stack.admin.headers, timeout=30, trust_env=False
            ) as client:
                load = Load(client, project)
                running = asyncio.create_task(load.run(10 + FROZEN + 10))
                await asyncio.sleep(10)
                before = [len(names) for names in cluster.list_clients_by_server()]
                with frozen(cluster.servers[before.index(max(before))]):
                    await asyncio.sleep(FROZEN)
                await running
            after = [len(names) for names in cluster.list_clients_by_server()]
            ends = [stack.wait_until_finished(build, 120)["status"] for build in load.builds]
            wait_until(lambda: all(process["ready"] for process in stack.get_status()), 30)
            jobs_lost = await lost(stack)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(ends)} builds, longest pause {load.longest_pause():.1f} s, failed requests {load.failures}, "
            f"jobs lost {jobs_lost}, clients by server {before} -> {after}\n"
        )
    assert set(ends) == {"SUCCESS"}
    assert jobs_lost == []
    assert load.longest_pause() < LONGEST_PAUSE
