"""Job lists: a page reads at most one row more than it shows, and rows are counted from an index."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import UNFINISHED_TIME, JobRow, JobStatus, ListJobs
from contracts.messages import Page
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.observability.metrics import Metrics
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.projections import job_category as category
from services.builds.queries.job_queries import ListJobsHandler
from tests.support.memory_key_vault import MemoryKeyVault

JOB_COUNT = 1000
STATUSES = tuple(JobStatus)
ROW_FIELD = f"job_v{category.row_version}"


@dataclass
class JobListStage:
    runtime: Runtime
    jobs: ListJobsHandler = field(default_factory=ListJobsHandler)

    async def get_page(self, query: ListJobs) -> Page:
        return await self.jobs.list_jobs(ServiceContext(self.runtime, CommandMetadata(uuid4().hex, now())), query)

    async def profile_query(self, query: ListJobs) -> list[Document]:
        """Read the page. Return the database profiler's entries about it."""
        database = self.runtime.database
        await database.command("profile", 2)
        await self.get_page(query)
        await database.command("profile", 0)
        profile = database["system.profile"]
        seen = await profile.find({"ns": f"{database.name}.streams"}).to_list()
        await profile.drop()
        return seen


def job_document(number: int) -> dict[str, Any]:
    """Return a job document. One of eleven jobs is queued; the others are spread over five runners."""
    status = STATUSES[number % len(STATUSES)]
    ended = UNFINISHED_TIME if number % 10 == 0 else now() - timedelta(seconds=number % 500)
    runner = None if status is JobStatus.QUEUED else f"runner-{number % 5}"
    row = JobRow(id=number, uuid=str(uuid4()), status=status, runner_uuid=runner, listed_at=ended)
    return {"_id": f"job-{number}", "version": 1, "commit": "c", ROW_FIELD: row.model_dump()}


@pytest.fixture
async def stage(settings: Settings, database: AsyncDatabase[Document], bus: Client) -> JobListStage:
    gone = [{"_id": f"job-{number}", "version": 2, "commit": "c", ROW_FIELD: None} for number in range(-50, 0)]
    await database["streams"].insert_many([job_document(number) for number in range(1, JOB_COUNT + 1)] + gone)
    return JobListStage(Runtime(service, settings, database, bus, MemoryKeyVault(), Metrics.create(get_meter("test"))))


FIRST_PAGE = ListJobs(limit=10, counted=True)
QUERIES = (
    FIRST_PAGE,
    FIRST_PAGE.replace(skip=500),
    FIRST_PAGE.replace(statuses=(JobStatus.SUCCESS,)),
    FIRST_PAGE.replace(statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)),
    FIRST_PAGE.replace(runner_uuid="runner-1"),
    FIRST_PAGE.replace(runner_uuid="runner-2", statuses=(JobStatus.ASSIGNED, JobStatus.RUNNING)),
)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_page_of_jobs_is_read_and_counted_by_an_index(stage: JobListStage, query: ListJobs) -> None:
    found, counted = await stage.profile_query(query)
    assert [entry["command"].get("find", entry["command"].get("aggregate")) for entry in (found, counted)] == [
        "streams"
    ] * 2
    assert not [entry["planSummary"] for entry in (found, counted) if "COLLSCAN" in entry["planSummary"]]
    assert not found.get("hasSortStage")
    assert found["docsExamined"] == query.limit + 1
    assert counted["docsExamined"] == 0


async def test_pages_of_jobs_hold_every_job_once_in_a_stable_order(stage: JobListStage) -> None:
    pages = [await stage.get_page(ListJobs(skip=number * 250, limit=250, counted=True)) for number in range(5)]
    assert [(len(page.rows), page.total) for page in pages] == [(250, JOB_COUNT)] * 4 + [(0, JOB_COUNT)]
    rows = [row for page in pages for row in page.rows]
    assert len({row["id"] for row in rows}) == JOB_COUNT
    assert {row["id"] % 10 for row in rows[: JOB_COUNT // 10]} == {0}
    assert rows[0]["id"] == JOB_COUNT
    assert not {"token_hash", "steps", "project"} & rows[0].keys()


async def test_a_list_of_jobs_with_no_statuses_is_empty(stage: JobListStage) -> None:
    assert await stage.get_page(ListJobs(statuses=())) == Page(rows=(), total=0)


@pytest.fixture
def close_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cache an anchor every 60 rows instead of 5,000, so that the short list of a test has anchors.

    An anchor is the time of one row with the number of newer rows. A late page is read from the nearest anchor.
    """
    monkeypatch.setattr("libs.projections.counted_list.ROWS_BETWEEN_ANCHORS", 60)


async def list_all_ids(stage: JobListStage, size: int) -> list[int]:
    pages = [
        await stage.get_page(ListJobs(skip=number * size, limit=size, counted=True))
        for number in range(-(-JOB_COUNT // size))
    ]
    assert {page.total for page in pages} == {JOB_COUNT}
    return [row["id"] for page in pages for row in page.rows]


async def test_pages_found_by_anchors_equal_pages_found_by_skipping(
    stage: JobListStage, close_anchors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_milestones = await list_all_ids(stage, size=7)
    monkeypatch.setattr("libs.projections.counted_list.ROWS_BETWEEN_ANCHORS", JOB_COUNT)
    stage.jobs = ListJobsHandler()
    assert by_milestones == await list_all_ids(stage, size=250)
    assert len(set(by_milestones)) == JOB_COUNT


@pytest.mark.usefixtures("close_anchors")
@pytest.mark.parametrize("query", [query for query in QUERIES if not (query.runner_uuid and query.statuses)])
async def test_a_late_page_reads_only_the_rows_between_two_anchors(stage: JobListStage, query: ListJobs) -> None:
    total = (await stage.get_page(query)).total
    *_, found = await stage.profile_query(query.replace(skip=total - total % query.limit - query.limit))
    assert query.limit <= found["docsExamined"] <= query.limit + 1
    assert found["keysExamined"] < 60 + 3 * query.limit


@pytest.mark.usefixtures("close_anchors")
async def test_new_and_finished_jobs_change_a_long_list_at_once(stage: JobListStage) -> None:
    await stage.get_page(FIRST_PAGE)
    streams = stage.runtime.database["streams"]
    await streams.insert_many([job_document(number) for number in (JOB_COUNT + 10, JOB_COUNT + 20)])  # two new jobs
    await streams.update_one({"_id": "job-10"}, {"$set": {f"{ROW_FIELD}.listed_at": now()}})  # one job has finished
    page = await stage.get_page(ListJobs(limit=100, counted=True))
    assert page.total == JOB_COUNT + 2
    assert [row["id"] for row in page.rows[:2]] == [JOB_COUNT + 20, JOB_COUNT + 10]
    assert 10 not in [row["id"] for row in page.rows[50:]]


@pytest.mark.usefixtures("close_anchors")
async def test_deleted_jobs_are_counted_in_a_long_list_for_at_most_a_minute(
    stage: JobListStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.get_page(FIRST_PAGE)
    await stage.runtime.database["streams"].delete_many({"_id": {"$in": [f"job-{number}" for number in range(1, 300)]}})
    monkeypatch.setattr("libs.projections.counted_list.time.monotonic", lambda: time.perf_counter() + 10**6)
    assert (await stage.get_page(FIRST_PAGE)).total == JOB_COUNT - 299
