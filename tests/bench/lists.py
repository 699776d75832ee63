"""`python -m tests.bench.lists [jobs]`: measure the latency of job lists with few and with a million jobs."""

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from opentelemetry.metrics import get_meter
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import UNFINISHED_TIME, JobRow, JobStatus, ListJobs
from infra.local.servers import local_servers
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.messaging.nats_connection import connect
from libs.observability.metrics import Metrics
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from libs.service.migration import migrate
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.projections import job_category as category
from services.builds.queries.job_queries import ListJobsHandler
from tests.bench.cells import percentile
from tests.support.memory_key_vault import MemoryKeyVault

SMALL_JOB_COUNT, LARGE_JOB_COUNT = 100, 1_000_000
RUNNER_COUNT = 50
BATCH_SIZE = 5000
PAUSE_SECONDS = 0.02  # pause after each batch and query, so that the machine stays usable
REPETITIONS = 40  # measurements of each query
STATUSES = (JobStatus.SUCCESS,) * 8 + (JobStatus.FAILED, JobStatus.CANCELED)
ROW = f"job_v{category.row_version}"
NEWEST = now()


def generate_rows(numbers: range) -> Iterator[Document]:
    """Yield job rows. One in 10,000 is running; the others finished one second apart."""
    template = JobRow(id=1, uuid=str(uuid4()), tags=("linux",)).model_dump()
    for number in numbers:
        ended = number % 10_000 != 0
        row: dict[str, Any] = {
            **template,
            "id": number,
            "local_id": number,
            "project_id": number % 100,
            "build_id": number,
            "status": STATUSES[number % len(STATUSES)] if ended else JobStatus.RUNNING,
            "runner_uuid": f"runner-{number % RUNNER_COUNT}",
            "listed_at": NEWEST - timedelta(seconds=LARGE_JOB_COUNT * 2 - number) if ended else UNFINISHED_TIME,
        }
        yield {"_id": f"job-{number}", "version": 5, "commit": "c", ROW: row}


async def insert_jobs(database: AsyncDatabase[Document], numbers: range) -> None:
    remaining_rows = generate_rows(numbers)
    while batch := list(itertools.islice(remaining_rows, BATCH_SIZE)):
        await database["streams"].insert_many(batch, ordered=False)
        await asyncio.sleep(PAUSE_SECONDS)


def build_queries(jobs: int) -> dict[str, ListJobs]:
    first = ListJobs(limit=10, counted=True)
    last = jobs // 10 - 1
    return {
        "all, first page": first,
        "all, in the middle": first.replace(skip=10 * (last // 2)),
        "all, 9 of 10 pages on": first.replace(skip=10 * (last * 9 // 10)),
        "all, last page": first.replace(skip=10 * last),
        "SUCCESS, first page": first.replace(statuses=(JobStatus.SUCCESS,)),
        "SUCCESS, 9 of 10 pages on": first.replace(statuses=(JobStatus.SUCCESS,), skip=10 * (last * 7 // 10)),
        "RUNNING, first page": first.replace(statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)),
        "of a runner, first page": first.replace(runner_uuid="runner-7"),
        "of a runner, last page": first.replace(runner_uuid="runner-7", skip=max(jobs // RUNNER_COUNT - 10, 0)),
        "of a runner, FAILED": first.replace(runner_uuid="runner-8", statuses=(JobStatus.FAILED,)),
    }


async def measure_queries(runtime: Runtime, jobs: int) -> None:
    listing = ListJobsHandler()
    for name, query in build_queries(jobs).items():
        durations = []
        for _ in range(REPETITIONS + 1):
            started = time.perf_counter()
            page = await listing.list_jobs(ServiceContext(runtime, CommandMetadata(uuid4().hex, now())), query)
            durations.append(time.perf_counter() - started)
            await asyncio.sleep(PAUSE_SECONDS)
        figures = f"{percentile(durations[1:], 0.5):7.1f} / {percentile(durations[1:], 0.9):7.1f} ms"
        print_line(
            f"{jobs:>9,} jobs  {name:28} first {durations[0] * 1000:7.1f} ms, then p50/p90 {figures}  of {page.total:,}"
        )


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(job_count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, local_servers(Path(folder), unlimited=True) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url, nats_url=servers.nats_url, master_keys=(bytes(32),))
        bus = await connect(settings, "lists")
        async with create_mongo_client(settings, "lists") as client:
            database, vault = get_database(client, settings, "builds"), MemoryKeyVault()
            others = [Service(name, categories=()) for name in ("runners", "projects")]
            await migrate([*others, service], [database] * 3, [vault] * 3, bus)
            runtime = Runtime(service, settings, database, bus, vault, Metrics.create(get_meter("lists")))
            await insert_jobs(database, range(1, SMALL_JOB_COUNT + 1))
            await measure_queries(runtime, SMALL_JOB_COUNT)
            started = time.perf_counter()
            await insert_jobs(database, range(SMALL_JOB_COUNT + 1, job_count + 1))
            print_line(f"{job_count:,} jobs inserted after {time.perf_counter() - started:.0f} s")
            await measure_queries(runtime, job_count)
        await bus.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE_JOB_COUNT))
