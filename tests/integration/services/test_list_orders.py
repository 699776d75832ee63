"""Lists are read in the order of an index, in every order that clients can request: MongoDB sorts no rows in memory.

The lists in SORTED_IN_MEMORY are excluded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import BuildStatus, JobStatus
from contracts.messages import Page, Payload
from contracts.paging import FilteredPageRequest, PageRequest
from infra.service_catalog import load_services
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import AnyCategory, CommandMetadata
from libs.eventstore.indexes import ensure_indexes
from libs.observability.metrics import Metrics
from libs.projections.filters import Columns
from libs.projections.projector import projection_collection
from libs.projections.schema import list_indexes
from libs.service.connections import get_database
from libs.service.declaration import AnyHandler, Service
from libs.service.runtime import Runtime
from libs.service.service_context import ServiceContext
from libs.settings import Settings
from services.identity.views import USER_COLUMNS
from services.projects.project_page import PROJECT_COLUMNS
from services.projects.secrets import SECRET_COLUMNS
from tests.support.memory_key_vault import MemoryKeyVault

ROW_COUNT = 200
SORTED_IN_MEMORY = {"PageSshKeys", "ListFiles", "ListRunners"}
"""Lists of parts of one row or few rows, and the runners by last contact, which is not in their rows."""
COLUMNS: dict[str, Columns] = {
    "PageUsers": USER_COLUMNS,
    "PageProjects": PROJECT_COLUMNS,
    "PageSecrets": SECRET_COLUMNS,
}
"""The columns to sort by, by the name of the query. The other lists have one order."""
PARAMETERS: dict[str, tuple[Payload, ...]] = {
    "FindUsers": ({}, {"username": "name-4"}, {"email": "name-4"}),
    "PageDeliveries": ({"project_id": 1},),
    "ListJobs": (
        {},
        {"statuses": [JobStatus.SUCCESS]},
        {"statuses": [JobStatus.SUCCESS, JobStatus.FAILED]},
        {"runner_uuid": "runner"},
        {"runner_uuid": "runner", "statuses": [JobStatus.SUCCESS, JobStatus.FAILED]},
    ),
}


@dataclass(frozen=True)
class ServiceList:
    service: Service
    handler: AnyHandler

    def __str__(self) -> str:
        return str(self.handler.message.wire_name)

    def list_requests(self) -> Iterator[PageRequest]:
        """Yield requests for first pages, in every order and with each set of parameters in PARAMETERS."""
        message = self.handler.message
        orders: list[Payload] = [{}]
        if issubclass(message, FilteredPageRequest) and str(self) in COLUMNS:
            orders = [
                {"sort_by": column, "descending": descending}
                for column in (*COLUMNS[str(self)], "NONE")
                for descending in (True, False)
            ]
        for parameters in PARAMETERS.get(str(self), ({},)):
            for order in orders:
                yield message.model_validate({"limit": 20, "counted": True, **parameters, **order})


LISTS = [
    ServiceList(service, handler)
    for service in load_services()
    for handler in service.handlers
    if issubclass(handler.message, PageRequest) and handler.message.wire_name not in SORTED_IN_MEMORY
]


def row_fields(number: int) -> Payload:
    """Return sample values by field name. A row uses only the values of the fields that it has."""
    name = f"name-{number % 10}"
    return {
        "id": number,
        "uuid": str(uuid4()),
        "project_id": 1,
        "local_id": number,
        "name": name,
        "username": name,
        "username_key": f"name-{number}",
        "email": name,
        "email_key": name,
        "role": None if number % 2 else "ROLE_ADMIN",
        "env": None if number % 2 else name,
        "runner_uuid": "runner",
        "listed_at": now() - timedelta(seconds=number),
        "received_at": now() - timedelta(seconds=number),
        "requested_at": now() - timedelta(seconds=number),
        "queued_at": now(),
        "code": "WEBHOOK_SIGNATURE_INVALID",
        "months": number,
    }


def stream_document(category: AnyCategory, number: int) -> Document:
    row = category.initial_row
    values = {name: value for name, value in row_fields(number).items() if name in type(row).model_fields}
    values |= {"id": f"{category.name}-{number}"} if isinstance(getattr(row, "id", 0), str) else {}
    if category.name == "build":
        values |= {"finished": number % 2 == 0, "status": list(BuildStatus)[number // 2 % len(BuildStatus)]}
    if category.name == "job":
        values |= {"status": list(JobStatus)[number % len(JobStatus)]}
    return {"_id": f"{category.name}-{number}", category.row_field: row.replace(**values).model_dump()}


async def fill_database(database: AsyncDatabase[Document], service: Service) -> None:
    await ensure_indexes(database, list_indexes(service))
    for category in service.categories:
        rows = [stream_document(category, number) for number in range(1, ROW_COUNT + 1)]
        await database["streams"].insert_many(rows)
    for projection in service.projections:
        names = type(projection.initial_row).model_fields
        numbers = range(1, ROW_COUNT + 1)
        values = ({name: value for name, value in row_fields(number).items() if name in names} for number in numbers)
        rows = [
            {"_id": str(n), "row": projection.initial_row.replace(**row).model_dump()} for n, row in enumerate(values)
        ]
        await database[projection_collection(projection)].insert_many(rows)


async def find_sorts(database: AsyncDatabase[Document]) -> list[str]:
    """Return the profiled queries for pages that sorted rows, or scanned a collection to order rows."""
    entries = await database["system.profile"].find({"command.limit": {"$exists": True}}).to_list()
    return [
        f"{entry['planSummary']} for {entry['command']}"
        for entry in entries
        if entry.get("hasSortStage") or ("COLLSCAN" in entry["planSummary"] and "sort" in entry["command"])
    ]


@pytest.mark.parametrize("listed", LISTS, ids=str)
async def test_a_list_is_read_in_the_order_of_an_index(
    listed: ServiceList, settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client
) -> None:
    database = get_database(mongo_client, settings, listed.service.name)
    await fill_database(database, listed.service)
    runtime = Runtime(listed.service, settings, database, bus, MemoryKeyVault(), Metrics.create(get_meter("test")))
    ctx: Any = ServiceContext(runtime, CommandMetadata(uuid4().hex, now()))
    await database.command("profile", 2)
    for request in listed.list_requests():
        page = await listed.handler.run(ctx, request)
        assert isinstance(page, Page)
        assert page.rows
        if page.next:
            page = await listed.handler.run(ctx, request.replace(after=page.next))
            assert isinstance(page, Page)
            assert page.rows
    await database.command("profile", 0)
    assert await find_sorts(database) == []


def test_every_list_that_is_sorted_in_memory_exists() -> None:
    lists = {
        handler.message.wire_name
        for service in load_services()
        for handler in service.handlers
        if issubclass(handler.message, PageRequest)
    }
    assert lists >= SORTED_IN_MEMORY
