"""A database of the builds service, migrated once per test file and emptied before each test."""

from collections.abc import AsyncIterator

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from services.builds.app import service
from tests.support.in_process.service_stage import delete_documents, migrated_database
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="module")
async def shared_database(servers: Servers) -> AsyncIterator[AsyncDatabase[Document]]:
    async with migrated_database(servers, service) as database:
        yield database


@pytest.fixture
async def database(shared_database: AsyncDatabase[Document]) -> AsyncDatabase[Document]:
    await delete_documents(shared_database)
    return shared_database
