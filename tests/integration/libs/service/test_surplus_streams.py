"""Removal of surplus streams: the oldest ones of each group."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from libs.clock import now
from libs.documents import Document
from libs.retention.stream_removal import MIN_SURPLUS_AGE, StreamRemoval
from services.projects.app import service
from services.projects.webhooks.delivery_projection import DeliveryRow, delivery_category
from tests.support.in_process.service_stage import migrated_database
from tests.support.infrastructure.servers import Servers
from tests.support.memory_key_vault import MemoryKeyVault

[EXPIRY] = service.expiries
AT = now()


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[AsyncDatabase[Document]]:
    """Yield a database with five deliveries of two projects, two to four hours old, and two younger than one hour."""
    async with migrated_database(servers, service) as database:
        ages: dict[int, list[float]] = {1: [0.2, 0.5, 2, 3, 4], 2: [2, 3]}
        for project_id, hours in ages.items():
            for hour in hours:
                id_ = f"{project_id}-{hour}"
                row = DeliveryRow(id=id_, project_id=project_id, received_at=AT - timedelta(hours=hour))
                head = {"_id": f"delivery-{id_}", "version": 1, delivery_category.row_field: row.model_dump()}
                await database["streams"].insert_one(head)
        yield database


@pytest.mark.parametrize(
    ("count", "left"),
    [
        (5, ["1-0.2", "1-0.5", "1-2", "1-3", "1-4", "2-2", "2-3"]),
        (3, ["1-0.2", "1-0.5", "1-2", "2-2", "2-3"]),
        (1, ["1-0.2", "1-0.5", "2-2"]),
    ],
)
async def test_the_newest_of_each_project_and_young_ones_stay(
    database: AsyncDatabase[Document], count: int, left: list[str]
) -> None:
    removal = StreamRemoval(service, database, MemoryKeyVault())
    assert timedelta(hours=1) == MIN_SURPLUS_AGE
    assert await removal.remove_surplus(EXPIRY, AT, count) == 7 - len(left)
    found = database["streams"].find({}).sort("_id", 1)
    assert [head["_id"].removeprefix("delivery-") async for head in found] == left
