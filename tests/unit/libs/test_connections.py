"""The write concern of a process's MongoDB client, and its end."""

import asyncio

import pytest
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.service import connections
from libs.service.connections import close_client, create_mongo_client
from libs.settings import Settings

URL = "mongodb://127.0.0.1:1/?replicaSet=rs0"


@pytest.mark.parametrize(
    ("options", "is_journaled"),
    [("", True), ("&journal=true", True), ("&w=1", True), ("&journal=false", False)],
    ids=["default", "journal", "one server", "no journal"],
)
async def test_a_write_waits_for_a_majority_and_the_journal(options: str, is_journaled: bool) -> None:
    async with create_mongo_client(Settings(mongodb_url=URL + options), "test") as client:
        assert client.write_concern.document == {"w": "majority", "j": is_journaled}


class WaitingClient(AsyncMongoClient[Document]):
    """A client that waits, at its first attempt to close, for a server that does not respond."""

    close_count = 0

    async def close(self) -> None:
        self.close_count += 1
        if self.close_count == 1:
            await asyncio.Event().wait()
        await super().close()


async def test_a_client_of_an_unresponsive_server_is_closed_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CLOSE_TIMEOUT_SECONDS", 0.1)
    client = WaitingClient(URL)
    await close_client(client)
    assert client.close_count == 2
