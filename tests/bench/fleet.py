"""Benchmark of dispatching: 50 runners on a running stack, and claims in a queue of 100,000 jobs.

The simulated runners request and report jobs but run no scripts, so that only dispatching is measured.
"""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from infra.local.servers import local_servers
from libs.messaging.nats_connection import connect
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from services.builds.app import service as builds
from services.builds.dispatch.job_dispatch import JobDispatcher
from services.builds.execution.attempts import AttemptStore
from tests.bench.cells import percentile
from tests.bench.client import Connection
from tests.support.in_process.dispatch_stage import DispatchReplica, dispatch_replicas, queued_job_document
from tests.support.in_process.service_stage import ServiceStage

if TYPE_CHECKING:
    from tests.bench.recorder import Bench

RUNNER_COUNT = 50
PACED_BUILDS, LAUNCH_INTERVAL = 100, 0.05  # builds launched one by one; seconds between two launches
# builds of the large project; builds of each small project; number of small projects
FLOOD_BUILDS, BUILDS_PER_SMALL_PROJECT, SMALL_PROJECTS = 100, 5, 4
TIMEOUT_SECONDS = 120.0  # maximum duration of each phase
CLAIM_COUNT, SHORT_QUEUE, POSSIBLE_JOBS, IMPOSSIBLE_JOBS = 100, 10, 10_000, 90_000


@dataclass
class RunnerFleet:
    received_jobs: list[tuple[int, int]] = field(default_factory=list)  # job id and build id, in order of arrival
    deferred_requests: int = 0  # requests with the response 503 or 504
    received_at: dict[int, float] = field(default_factory=dict)  # time at which the job of a build arrived

    async def run_runner(self, url: str, token: str) -> None:
        known = ""
        async with Connection(url) as connection:
            while True:
                reply = await connection.request("POST", "/api/v4/jobs/request", {"token": token, "last_update": known})
                if reply.status == 201:
                    job = reply.json()
                    build = job["job_info"]["pipeline_id"]
                    self.received_at.setdefault(build, time.perf_counter())
                    self.received_jobs.append((job["id"], build))
                    state = {"token": job["token"], "state": "success"}
                    await connection.request("PUT", f"/api/v4/jobs/{job['id']}", state)
                elif reply.status in (503, 504):
                    self.deferred_requests += 1
                    await asyncio.sleep(0.5)
                elif reply.status != 204:
                    raise RuntimeError(f"unexpected response to a runner: {reply}")

    async def wait_for_builds(self, builds: Sequence[int]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not self.received_at.keys() >= set(builds):  # noqa: ASYNC110  there is no event to wait for
                await asyncio.sleep(0.02)

    @property
    def duplicate_count(self) -> int:
        return sum(count - 1 for count in Counter(job for job, _ in self.received_jobs).values())


@asynccontextmanager
async def running_fleet(url: str, registration_token: str) -> AsyncIterator[RunnerFleet]:
    fleet = RunnerFleet()
    async with Connection(url) as connection, AsyncExitStack() as cleanup, asyncio.TaskGroup() as group:
        tokens = []
        for number in range(RUNNER_COUNT):
            body = {"token": registration_token, "description": f"fleet {number}", "run_untagged": True}
            tokens.append((await connection.request("POST", "/api/v4/runners", body)).json()["token"])
            cleanup.push_async_callback(connection.request, "DELETE", "/api/v4/runners", {"token": tokens[-1]})
        runners = [group.create_task(fleet.run_runner(url, token)) for token in tokens]
        yield fleet
        for task in runners:
            task.cancel()


async def measure_fleet(bench: "Bench", projects: Sequence[int]) -> None:
    """Measure latency with builds launched at intervals, then fairness with a queue filled before runners connect."""
    await bench.set_agents_active(active=False)
    async with bench.open_connections(bench.stack.url, 1, bench.token) as (user,):
        token = (await user.request("GET", "/api/admin/runners/registration-info")).json()["registrationToken"]
        waits, paced = await _run_paced(bench.stack.url, token, user, projects)
        behind, flooded = await _run_flooded(bench.stack.url, token, user, projects)
    await bench.set_agents_active(active=True)
    p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
    bench.record(
        "fleet_dispatch",
        f"POST build to the job in hand, {RUNNER_COUNT} runners, {PACED_BUILDS} builds, p50/p99",
        f"{p50:.1f}/{p99:.1f} ms",
        "25/100 ms",
        p50 < 25 and p99 < 100,
        p50=p50,
        p99=p99,
    )
    put_off = paced.deferred_requests + flooded.deferred_requests
    bench.record("fleet_put_off", "  requests answered with 503 or 504", str(put_off), "0", put_off == 0)
    twice = paced.duplicate_count + flooded.duplicate_count
    bench.record("fleet_twice", "  jobs given out twice", str(twice), "0", twice == 0)
    bench.record(
        "fleet_turns",
        f"  of {FLOOD_BUILDS} builds, still waiting "
        f"when {SMALL_PROJECTS * BUILDS_PER_SMALL_PROJECT} later ones of other projects had runners",
        str(behind),
        "",
        None,
        behind=behind,
    )


async def _run_paced(
    url: str, token: str, user: Connection, projects: Sequence[int]
) -> tuple[list[float], RunnerFleet]:
    launched: dict[int, float] = {}
    async with running_fleet(url, token) as runners:
        for project_id in itertools.islice(itertools.cycle(projects), PACED_BUILDS):
            started = time.perf_counter()
            launched[await _launch_build(user, project_id)] = started
            await asyncio.sleep(LAUNCH_INTERVAL)
        await runners.wait_for_builds(list(launched))
    return [runners.received_at[build] - started for build, started in launched.items()], runners


async def _run_flooded(url: str, token: str, user: Connection, projects: Sequence[int]) -> tuple[int, RunnerFleet]:
    flood = [await _launch_build(user, projects[0]) for _ in range(FLOOD_BUILDS)]
    small = [
        await _launch_build(user, project_id)
        for project_id in projects[1 : 1 + SMALL_PROJECTS]
        for _ in range(BUILDS_PER_SMALL_PROJECT)
    ]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await _are_all_planned(user):  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0.2)
    async with running_fleet(url, token) as runners:
        await runners.wait_for_builds([*flood, *small])
    last = max(runners.received_at[build] for build in small)
    return sum(runners.received_at[build] > last for build in flood), runners


async def _launch_build(user: Connection, project_id: int) -> int:
    reply = await user.request("POST", f"/api/developer/builds/{project_id}", {"build": {}})
    return int(reply.json()["build_id"])


async def _are_all_planned(user: Connection) -> bool:
    queued = (await user.request("GET", "/api/developer/builds/queueds")).json()
    return all(entry["reason"].startswith("Waits") for entry in queued)


async def measure_long_queue(bench: "Bench", folder: Path) -> None:
    """Measure claims in a short queue, and in a long queue in which most jobs fit no runner."""
    # Each queued job would log a warning, because it belongs to no build.
    logging.getLogger("headrace.runtime").setLevel(logging.ERROR)
    with local_servers(folder, unlimited=True) as servers:
        settings = Settings(
            mongodb_url=servers.mongodb_url,
            nats_url=servers.nats_url,
            master_keys=(bytes(32),),
            database_prefix=f"test-{uuid4().hex[:8]}",
        )
        nats = await connect(settings, "bench")
        await ServiceStage(settings).migrate(builds)
        async with (
            create_mongo_client(settings, "bench") as client,
            dispatch_replicas(settings, get_database(client, settings, "builds"), nats) as (yard,),
        ):
            numbers = itertools.count(1)
            await _queue_jobs(yard, numbers, SHORT_QUEUE)
            short = await _measure_claims(yard, numbers)
            impossible = range(10_000_000, 10_000_000 + IMPOSSIBLE_JOBS)
            for batch in _split_range(impossible, 5000):
                await yard.insert_jobs(
                    *(queued_job_document(number, number % 50, tags=[f"no-such-tag-{number % 20}"]) for number in batch)
                )
            await _queue_jobs(yard, numbers, POSSIBLE_JOBS - SHORT_QUEUE)
            long = await _measure_claims(yard, numbers)
        await nats.close()
    figures = [percentile(durations, share) for durations in (short, long) for share in (0.5, 0.99)]
    ratio = figures[2] / figures[0]
    bench.record(
        "claim",
        f"claim with {SHORT_QUEUE} jobs queued, p50/p99; with {POSSIBLE_JOBS + IMPOSSIBLE_JOBS:,}, of "
        f"them {IMPOSSIBLE_JOBS:,} impossible",
        f"{figures[0]:.1f}/{figures[1]:.1f} ms; {figures[2]:.1f}/{figures[3]:.1f} ms; ratio {ratio:.2f}",
        "1.5",
        ratio < 1.5,
        ratio=ratio,
    )


def _split_range(numbers: range, size: int) -> list[range]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


async def _queue_jobs(yard: DispatchReplica, numbers: "itertools.count[int]", count: int) -> None:
    for batch in _split_range(range(count), 200):
        new = list(itertools.islice(numbers, len(batch)))
        await asyncio.gather(*(yard.queue_jobs(number, project_id=number % 10 + 1) for number in new))


async def _measure_claims(yard: DispatchReplica, numbers: "itertools.count[int]") -> list[float]:
    """Return the seconds of each of CLAIM_COUNT claims. A job is queued after each one: the queue keeps its length."""
    claiming, taken = JobDispatcher(AttemptStore()), []
    for _ in range(CLAIM_COUNT):
        started = time.perf_counter()
        claim = await yard.claim_job(claiming)
        taken.append(time.perf_counter() - started)
        if claim.assignment is None:
            raise RuntimeError("no job could be claimed")
        await _queue_jobs(yard, numbers, 1)
    return taken
