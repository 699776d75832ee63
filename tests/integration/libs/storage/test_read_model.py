"""A walk over the rows of a read model on a real database."""

import pytest
from pymongo import AsyncMongoClient

from contracts.messages import ReadModelRow
from libs.documents import Document
from libs.projections.read_model import ReadModel
from libs.service.connections import get_database
from libs.settings import Settings

TICKET_COUNT = 300  # more than the first batch of a MongoDB cursor


class Ticket(ReadModelRow):
    id: int = 0
    open: bool = True


@pytest.fixture
async def tickets(settings: Settings, mongo_client: AsyncMongoClient[Document]) -> ReadModel[Ticket]:
    collection = get_database(mongo_client, settings, "tickets")["streams"]
    numbers = range(1, TICKET_COUNT + 1)
    await collection.insert_many(
        [{"_id": f"ticket-{number}", "ticket_v1": {"id": number, "open": True}} for number in numbers]
    )
    return ReadModel(collection, Ticket, "ticket_v1", "ticket-")


async def test_a_walk_over_rows_visits_every_row_despite_concurrent_changes(
    tickets: ReadModel[Ticket],
    settings: Settings,
    mongo_client: AsyncMongoClient[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("libs.projections.read_model.WALK_PAGE_SIZE", 7)
    collection = get_database(mongo_client, settings, "tickets")["streams"]
    seen = []
    async for ticket in tickets.walk({"open": True}):
        seen.append(ticket.id)
        await collection.update_one({"_id": f"ticket-{ticket.id}"}, {"$set": {"ticket_v1.open": False}})
    assert seen == list(range(1, TICKET_COUNT + 1))


async def test_a_walk_over_rows_holds_no_open_cursor(
    tickets: ReadModel[Ticket], mongo_client: AsyncMongoClient[Document]
) -> None:
    async def open_cursors() -> int:
        return int((await mongo_client.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"])

    before = await open_cursors()
    async for _ in tickets.walk({}):
        assert await open_cursors() == before
        break
