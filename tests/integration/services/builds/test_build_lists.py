"""Lists of builds are limited in length, so that each list fits into one NATS message."""

from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import BuildRow, BuildStatus, ListProjectBuilds, ListRunningBuilds
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.observability.metrics import Metrics
from libs.service.connections import get_database
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.builds.app import service
from services.builds.projections import build_category as category
from services.builds.queries import build_queries
from tests.support.memory_key_vault import MemoryKeyVault

FINISHED_IDS, RUNNING_IDS = range(1, 1101), range(1101, 2201)


def build_document(number: int) -> dict[str, Any]:
    status = BuildStatus.SUCCESS if number in FINISHED_IDS else BuildStatus.RUNNING
    row = BuildRow(id=number, project_id=1, status=status, finished=number in FINISHED_IDS, warnings=("x" * 2000,))
    return {"_id": f"build-{number}", "version": 1, "commit": "c", category.row_field: row.model_dump()}


@pytest.fixture
async def ctx(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> ServiceContext:
    database = get_database(mongo_client, settings, "builds")
    await database["streams"].insert_many([build_document(number) for number in (*FINISHED_IDS, *RUNNING_IDS)])
    runtime = Runtime(service, settings, database, bus, MemoryKeyVault(), Metrics.create(get_meter("test")))
    return ServiceContext(runtime, CommandMetadata(uuid4().hex, now()))


async def test_the_newest_thousand_finished_builds_of_a_project_are_listed_in_order(ctx: ServiceContext) -> None:
    builds = await build_queries.list_project_builds(ctx, ListProjectBuilds(project_id=1))
    assert [build.id for build in builds] == list(FINISHED_IDS)[-1000:]


async def test_the_oldest_thousand_running_builds_are_listed(ctx: ServiceContext) -> None:
    page = await build_queries.list_running_builds(ctx, ListRunningBuilds(limit=1000))
    assert [build["id"] for build in page.rows] == list(RUNNING_IDS)[:1000]


async def test_a_list_of_builds_is_cut_at_the_message_size_limit(
    ctx: ServiceContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await build_queries.list_project_builds(ctx, ListProjectBuilds(project_id=1, limit=10))
    size = sum(len(build.model_dump_json()) for build in whole)
    monkeypatch.setattr("services.builds.queries.build_queries.MAX_LIST_BYTES", size * 0.55)
    builds = await build_queries.list_project_builds(ctx, ListProjectBuilds(project_id=1, limit=10))
    assert [build.id for build in builds] == list(FINISHED_IDS)[-5:]
