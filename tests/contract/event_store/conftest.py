"""Fixtures: an in-memory and a MongoDB event store, and a command handler on each of them."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore import (
    EventStore,
)
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.eventstore.repository import CommandHandler
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from tests.support.in_process.service_stage import delete_documents
from tests.support.infrastructure.servers import Servers
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_key_vault import MemoryKeyVault


@pytest.fixture(scope="module")
async def shared_database(servers: Servers) -> AsyncIterator[AsyncDatabase[Document]]:
    settings = Settings(mongodb_url=servers.mongodb_url, database_prefix=f"test-{uuid4().hex[:8]}")
    async with create_mongo_client(settings, "test") as client:
        database = get_database(client, settings, "counters")
        await create_schema(database)
        yield database
        await client.drop_database(database.name)


@pytest.fixture
async def database(shared_database: AsyncDatabase[Document]) -> AsyncDatabase[Document]:
    await delete_documents(shared_database)
    return shared_database


@pytest.fixture(params=["memory", "mongodb"])
def store(request: pytest.FixtureRequest) -> EventStore:
    if request.param == "memory":
        return MemoryEventStore()
    return MongoEventStore(request.getfixturevalue("database"), MemoryKeyVault())


@pytest.fixture
def handler(store: EventStore) -> CommandHandler:
    return CommandHandler(store)
