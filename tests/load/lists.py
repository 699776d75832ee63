"""Lists of jobs with few jobs and with a million, on servers of their own: `python -m tests.load.lists [jobs]`."""

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

from contracts.builds import UNFINISHED, JobRow, JobStatus, ListJobs
from infra.local.servers import local_servers
from libs.clock import now
from libs.connections import Document, database_of, mongo
from libs.deciding import Cause
from libs.messaging import connect
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.listing import JobList
from services.builds.views import job as category
from tests.load.cells import percentile

FEW, MANY = 100, 1_000_000
RUNNERS = 50
AT_ONCE = 5000
PAUSE = 0.02  # seconds between two batches, and between two questions: others work here as well
ASKED = 40  # times each question
STATUSES = (JobStatus.SUCCESS,) * 8 + (JobStatus.FAILED, JobStatus.CANCELED)
ROW = f"job_v{category.row_version}"
NEWEST = now()


def rows(numbers: range) -> Iterator[Document]:
    """One in 10,000 is at work; the others ended one second after the other."""
    usual = JobRow(id=1, uuid=str(uuid4()), tags=("linux",)).model_dump()
    for number in numbers:
        ended = number % 10_000 != 0
        row: dict[str, Any] = {
            **usual,
            "id": number,
            "local_id": number,
            "project_id": number % 100,
            "build_id": number,
            "status": STATUSES[number % len(STATUSES)] if ended else JobStatus.RUNNING,
            "runner_uuid": f"runner-{number % RUNNERS}",
            "listed_at": NEWEST - timedelta(seconds=MANY * 2 - number) if ended else UNFINISHED,
        }
        yield {"_id": f"job-{number}", "version": 5, "commit": "c", ROW: row}


async def fill(database: AsyncDatabase[Document], numbers: range) -> None:
    made = rows(numbers)
    while batch := list(itertools.islice(made, AT_ONCE)):
        await database["streams"].insert_many(batch, ordered=False)
        await asyncio.sleep(PAUSE)


def questions(jobs: int) -> dict[str, ListJobs]:
    last = jobs // 10 - 1
    return {
        "all, first page": ListJobs(),
        "all, in the middle": ListJobs(page=last // 2),
        "all, 9 of 10 pages on": ListJobs(page=last * 9 // 10),
        "all, last page": ListJobs(page=last),
        "SUCCESS, first page": ListJobs(statuses=(JobStatus.SUCCESS,)),
        "SUCCESS, 9 of 10 pages on": ListJobs(statuses=(JobStatus.SUCCESS,), page=last * 7 // 10),
        "RUNNING, first page": ListJobs(statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)),
        "of a runner, first page": ListJobs(runner_uuid="runner-7"),
        "of a runner, last page": ListJobs(runner_uuid="runner-7", page=max(jobs // RUNNERS // 10 - 1, 0)),
        "of a runner, FAILED": ListJobs(runner_uuid="runner-8", statuses=(JobStatus.FAILED,)),
    }


async def measure(runtime: Runtime, jobs: int) -> None:
    listing = JobList()
    for name, query in questions(jobs).items():
        taken = []
        for _ in range(ASKED + 1):
            begun = time.perf_counter()
            page = await listing.show(Work(runtime, Cause(uuid4().hex, now())), query)
            taken.append(time.perf_counter() - begun)
            await asyncio.sleep(PAUSE)
        figures = f"{percentile(taken[1:], 0.5):7.1f} / {percentile(taken[1:], 0.9):7.1f} ms"
        say(f"{jobs:>9,} jobs  {name:28} first {taken[0] * 1000:7.1f} ms, then p50/p90 {figures}  of {page.total:,}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(many: int) -> None:
    with tempfile.TemporaryDirectory() as folder, local_servers(Path(folder), unlimited=True) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url, nats_url=servers.nats_url, master_keys=(bytes(32),))
        bus = await connect(settings, "lists")
        async with mongo(settings, "lists") as client:
            database, vault = database_of(client, settings, "builds"), MemoryVault()
            others = [Service(name, categories=()) for name in ("runners", "projects")]
            await migrate([*others, service], [database] * 3, [vault] * 3, bus)
            runtime = Runtime(service, settings, database, bus, vault, Metrics.made_from(get_meter("lists")))
            await fill(database, range(1, FEW + 1))
            await measure(runtime, FEW)
            begun = time.perf_counter()
            await fill(database, range(FEW + 1, many + 1))
            say(f"{many:,} jobs are there after {time.perf_counter() - begun:.0f} s")
            await measure(runtime, many)
        await bus.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else MANY))
