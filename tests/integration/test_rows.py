"""Queries over rows, on a real database."""

import pytest
from pymongo import AsyncMongoClient

from contracts.messages import Row
from libs.connections import Document, database_of
from libs.rows import Rows
from libs.settings import Settings

NUMBER = 300  # more than the first batch of a cursor


class Ticket(Row):
    id: int = 0
    open: bool = True


@pytest.fixture
async def tickets(settings: Settings, mongo_client: AsyncMongoClient[Document]) -> Rows[Ticket]:
    collection = database_of(mongo_client, settings, "tickets")["streams"]
    numbers = range(1, NUMBER + 1)
    await collection.insert_many([{"_id": f"ticket-{one}", "ticket_v1": {"id": one, "open": True}} for one in numbers])
    return Rows(collection, Ticket, "ticket_v1", "ticket-")


async def test_a_walk_sees_every_row_although_rows_change_meanwhile(
    tickets: Rows[Ticket], settings: Settings, mongo_client: AsyncMongoClient[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.rows.PAGE_SIZE", 7)
    collection = database_of(mongo_client, settings, "tickets")["streams"]
    seen = []
    async for ticket in tickets.walk({"open": True}):
        seen.append(ticket.id)
        await collection.update_one({"_id": f"ticket-{ticket.id}"}, {"$set": {"ticket_v1.open": False}})
    assert seen == list(range(1, NUMBER + 1))


async def test_a_walk_holds_no_cursor_while_its_caller_works(
    tickets: Rows[Ticket], mongo_client: AsyncMongoClient[Document]
) -> None:
    async def open_cursors() -> int:
        return int((await mongo_client.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"])

    before = await open_cursors()
    async for _ in tickets.walk({}):
        assert await open_cursors() == before
        break
