"""Lists of jobs read no more than they show, and count without reading, however many jobs there are."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import UNFINISHED, JobRow, JobStatus, ListJobs
from contracts.messages import Page
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work, now
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.listing import list_jobs
from services.builds.views import job as category

MANY = 1000
STATUSES = tuple(JobStatus)
ROW = f"job_v{category.row_version}"


@dataclass
class Yard:
    runtime: Runtime

    async def page(self, query: ListJobs) -> Page:
        return await list_jobs(Work(self.runtime, Cause(uuid4().hex, now())), query)

    async def looked_at(self, query: ListJobs) -> list[Document]:
        """What the database did for this page: how it looked for rows, and how many it read."""
        database = self.runtime.database
        await database.command("profile", 2)
        await self.page(query)
        await database.command("profile", 0)
        profile = database["system.profile"]
        seen = await profile.find({"ns": f"{database.name}.streams"}).to_list()
        await profile.drop()
        return seen


def made(number: int) -> dict[str, Any]:
    """Every seventh job waits for a runner; five runners share the others."""
    status = STATUSES[number % len(STATUSES)]
    ended = UNFINISHED if number % 10 == 0 else now() - timedelta(seconds=number % 500)
    runner = None if status is JobStatus.QUEUED else f"runner-{number % 5}"
    row = JobRow(id=number, uuid=str(uuid4()), status=status, runner_uuid=runner, listed_at=ended)
    return {"_id": f"job-{number}", "version": 1, "commit": "c", ROW: row.model_dump()}


@pytest.fixture
async def yard(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Yard:
    database = database_of(mongo_client, settings, "builds")
    vault = MemoryVault()
    others = [Service(name, categories=()) for name in ("runners", "projects")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    gone = [{"_id": f"job-{number}", "version": 2, "commit": "c", ROW: None} for number in range(-50, 0)]
    await database["streams"].insert_many([made(number) for number in range(1, MANY + 1)] + gone)
    return Yard(Runtime(service, settings, database, bus, vault, Metrics.made_from(get_meter("test"))))


QUERIES = (
    ListJobs(),
    ListJobs(page=50),
    ListJobs(statuses=(JobStatus.SUCCESS,)),
    ListJobs(statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)),
    ListJobs(runner_uuid="runner-1"),
    ListJobs(runner_uuid="runner-2", statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING)),
)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_page_of_jobs_is_read_from_an_index_and_counted_in_it(yard: Yard, query: ListJobs) -> None:
    found, counted = await yard.looked_at(query)
    assert [one["command"].get("find", one["command"].get("aggregate")) for one in (found, counted)] == ["streams"] * 2
    assert not [one["planSummary"] for one in (found, counted) if "COLLSCAN" in one["planSummary"]]
    assert not found.get("hasSortStage")
    assert found["docsExamined"] == query.size + 1
    assert counted["docsExamined"] == 0


async def test_pages_hold_every_job_once_in_one_order(yard: Yard) -> None:
    pages = [await yard.page(ListJobs(page=number, size=250)) for number in range(5)]
    assert [(len(page.rows), page.total) for page in pages] == [(250, MANY)] * 4 + [(0, MANY)]
    rows = [row for page in pages for row in page.rows]
    assert len({row["id"] for row in rows}) == MANY
    assert {row["id"] % 10 for row in rows[: MANY // 10]} == {0}
    assert rows[0]["id"] == MANY
    assert not {"token_hash", "steps", "project"} & rows[0].keys()


async def test_statuses_that_never_happen_have_no_jobs(yard: Yard) -> None:
    assert await yard.page(ListJobs(statuses=())) == Page(rows=(), total=0)
