"""Lists of jobs read no more than they show, and count without reading, however many jobs there are."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import UNFINISHED, JobRow, JobStatus, ListJobs
from contracts.messages import Page
from libs.clock import now
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.migration import migrate
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from services.builds.app import service
from services.builds.listing import JobList
from services.builds.views import job as category

MANY = 1000
STATUSES = tuple(JobStatus)
ROW = f"job_v{category.row_version}"


@dataclass
class Yard:
    runtime: Runtime
    jobs: JobList = field(default_factory=JobList)

    async def page(self, query: ListJobs) -> Page:
        return await self.jobs.show(Work(self.runtime, Cause(uuid4().hex, now())), query)

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


@pytest.fixture
def short_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is a long one: many milestones, with several jobs at most times."""
    monkeypatch.setattr("libs.milestones.APART", 60)


async def everything(yard: Yard, size: int) -> list[int]:
    pages = [await yard.page(ListJobs(page=number, size=size)) for number in range(-(-MANY // size))]
    assert {page.total for page in pages} == {MANY}
    return [row["id"] for page in pages for row in page.rows]


async def test_pages_of_a_long_list_are_those_of_a_short_one(
    yard: Yard, short_ways: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_milestones = await everything(yard, size=7)
    monkeypatch.setattr("libs.milestones.APART", MANY)
    yard.jobs = JobList()
    assert by_milestones == await everything(yard, size=250)
    assert len(set(by_milestones)) == MANY


@pytest.mark.usefixtures("short_ways")
@pytest.mark.parametrize("query", [one for one in QUERIES if not (one.runner_uuid and one.statuses)])
async def test_a_late_page_of_a_long_list_reads_no_more_than_lies_between_milestones(
    yard: Yard, query: ListJobs
) -> None:
    total = (await yard.page(query)).total
    *_, found = await yard.looked_at(query.but(page=total // query.size - 1))
    assert found["docsExamined"] == query.size
    assert found["keysExamined"] < 60 + 3 * query.size


@pytest.mark.usefixtures("short_ways")
async def test_what_is_new_in_a_long_list_counts_at_once(yard: Yard) -> None:
    await yard.page(ListJobs())
    streams = yard.runtime.database["streams"]
    await streams.insert_many([made(number) for number in (MANY + 10, MANY + 20)])  # at work
    await streams.update_one({"_id": "job-10"}, {"$set": {f"{ROW}.listed_at": now()}})  # over
    page = await yard.page(ListJobs(size=100))
    assert page.total == MANY + 2
    assert [row["id"] for row in page.rows[:2]] == [MANY + 20, MANY + 10]
    assert 10 not in [row["id"] for row in page.rows[50:]]


@pytest.mark.usefixtures("short_ways")
async def test_what_vanished_from_a_long_list_counts_for_a_minute_at_most(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await yard.page(ListJobs())
    await yard.runtime.database["streams"].delete_many({"_id": {"$in": [f"job-{number}" for number in range(1, 300)]}})
    monkeypatch.setattr("libs.milestones.time.monotonic", lambda: time.perf_counter() + 10**6)
    assert (await yard.page(ListJobs())).total == MANY - 299
