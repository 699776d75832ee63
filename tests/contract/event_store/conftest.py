"""Fixtures: an in-memory and a MongoDB event store, and a command handler on each of them."""

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore import (
    EventStore,
)
from libs.eventstore.memory import MemoryEventStore
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.eventstore.repository import CommandHandler
from libs.security.envelope_encryption import MemoryKeyVault
from libs.service.connections import get_database
from libs.settings import Settings


async def create_database(client: AsyncMongoClient[Document], settings: Settings) -> AsyncDatabase[Document]:
    database = get_database(client, settings, "counters")
    await create_schema(database)
    return database


async def open_memory_store(_client: AsyncMongoClient[Document], _settings: Settings) -> EventStore:
    return MemoryEventStore()


async def open_mongo_store(client: AsyncMongoClient[Document], settings: Settings) -> EventStore:
    return MongoEventStore(await create_database(client, settings), MemoryKeyVault())


@pytest.fixture
async def database(mongo_client: AsyncMongoClient[Document], settings: Settings) -> AsyncDatabase[Document]:
    return await create_database(mongo_client, settings)


@pytest.fixture(params=[open_memory_store, open_mongo_store])
async def store(
    request: pytest.FixtureRequest, mongo_client: AsyncMongoClient[Document], settings: Settings
) -> EventStore:
    opened: EventStore = await request.param(mongo_client, settings)
    return opened


@pytest.fixture
def handler(store: EventStore) -> CommandHandler:
    return CommandHandler(store)
