"""Lists of builds fit into one message, however many builds there are."""

from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from contracts.builds import BuildRow, BuildStatus, ListBuildsOfProject, ListRunning
from libs.clock import now
from libs.connections import Document, database_of
from libs.deciding import Cause
from libs.observability.metrics import Metrics
from libs.runtime import Runtime, Work
from libs.security.sealing import MemoryVault
from libs.settings import Settings
from services.builds import reading
from services.builds.app import service
from services.builds.views import build as category

FINISHED, RUNNING = range(1, 1101), range(1101, 2201)


def document(number: int) -> dict[str, Any]:
    status = BuildStatus.SUCCESS if number in FINISHED else BuildStatus.RUNNING
    row = BuildRow(id=number, project_id=1, status=status, finished=number in FINISHED, warnings=("x" * 2000,))
    return {"_id": f"build-{number}", "version": 1, "commit": "c", category.row_field: row.model_dump()}


@pytest.fixture
async def ctx(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Work:
    database = database_of(mongo_client, settings, "builds")
    await database["streams"].insert_many([document(number) for number in (*FINISHED, *RUNNING)])
    runtime = Runtime(service, settings, database, bus, MemoryVault(), Metrics.made_from(get_meter("test")))
    return Work(runtime, Cause(uuid4().hex, now()))


async def test_the_newest_thousand_finished_builds_of_a_project_are_listed_in_order(ctx: Work) -> None:
    builds = await reading.list_builds_of_project(ctx, ListBuildsOfProject(project_id=1))
    assert [build.id for build in builds] == list(FINISHED)[-1000:]


async def test_the_oldest_thousand_running_builds_are_listed(ctx: Work) -> None:
    assert [build.id for build in await reading.list_running(ctx, ListRunning())] == list(RUNNING)[:1000]


async def test_a_list_ends_where_its_message_is_full(ctx: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await reading.list_builds_of_project(ctx, ListBuildsOfProject(project_id=1, limit=10))
    size = sum(len(build.model_dump_json()) for build in whole)
    monkeypatch.setattr("services.builds.reading.MAX_LIST_BYTES", size * 0.55)
    builds = await reading.list_builds_of_project(ctx, ListBuildsOfProject(project_id=1, limit=10))
    assert [build.id for build in builds] == list(FINISHED)[-5:]
