"""One of three NATS servers is suspended for a minute under load: launches pause for seconds, and no job is lost."""

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
from tests.support.stacks.running_stack import RunningStack, create_sample_repository, running_stack
from tests.support.waiting import wait_until

FROZEN_SECONDS = 60.0
MAX_PAUSE_SECONDS = 15.0
LAUNCH_INTERVAL_SECONDS = 0.7

pytestmark = pytest.mark.skipif(
    not int(os.environ.get("HEADRACE_CHAOS_ROUNDS", "0")), reason="takes long; run `make chaos`"
)


@dataclass
class Load:
    """Launches builds at a steady rate. Repeats each launch until it is acknowledged."""

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
                await asyncio.sleep(LAUNCH_INTERVAL_SECONDS)

    async def _launch(self) -> None:
        headers = {"Idempotency-Key": uuid4().hex}
        while True:
            response = await self.client.post(
                f"/developer/builds/{self.project}", json={"build": {"ignore_steps": []}}, headers=headers
            )
            if response.status_code == 200:
                self.builds.append(response.json()["build_id"])
                self.acknowledged.append(time.monotonic())
                return
            self.failures[response.status_code] = self.failures.get(response.status_code, 0) + 1
            await asyncio.sleep(0.3)

    def longest_pause(self) -> float:
        times = sorted(self.acknowledged)
        return max(later - earlier for earlier, later in itertools.pairwise(times))


async def list_lost_jobs(stack: RunningStack) -> list[str]:
    """Return the reason of each loss of a delivered job. Jobs lost before delivery do not count."""
    settings = Settings(mongodb_url=stack.mongodb_url)
    async with create_mongo_client(settings, "test") as client:
        commits = get_database(client, settings, "builds")["commits"].find({"events.name": "JobLost"})
        events = [event async for commit in commits for event in commit["events"] if event["name"] == "JobLost"]
        return [event["data"]["reason"] for event in events if event["data"]["delivered"]]


@pytest.mark.timeout(600)
async def test_a_nats_server_frozen_for_a_minute_loses_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with nats_cluster(tmp_path) as cluster:
        environment = {"HEADRACE_NATS_URL": cluster.url(), "HEADRACE_STREAM_REPLICAS": "3"}
        with running_stack(tmp_path / "stack", replicas=2, environment=environment) as stack:
            project = stack.create_project(create_sample_repository(tmp_path / "repository"))
            async with httpx.AsyncClient(
                base_url=stack.admin.base_url, headers=stack.admin.headers, timeout=30
            ) as client:
                load = Load(client, project)
                running = asyncio.create_task(load.run(10 + FROZEN_SECONDS + 10))
                await asyncio.sleep(10)
                before = [len(names) for names in cluster.list_clients_by_server()]
                with frozen(cluster.servers[before.index(max(before))]):
                    await asyncio.sleep(FROZEN_SECONDS)
                await running
            after = [len(names) for names in cluster.list_clients_by_server()]
            statuses = [stack.wait_until_finished(build, 120)["status"] for build in load.builds]
            wait_until(lambda: all(process["ready"] for process in stack.get_status()), 30)
            jobs_lost = await list_lost_jobs(stack)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(statuses)} builds, longest pause {load.longest_pause():.1f} s, failed requests {load.failures}, "
            f"jobs lost {jobs_lost}, clients by server {before} -> {after}\n"
        )
    assert set(statuses) == {"SUCCESS"}
    assert jobs_lost == []
    assert load.longest_pause() < MAX_PAUSE_SECONDS
