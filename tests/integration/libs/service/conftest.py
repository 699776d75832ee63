"""Fixture: the counter service on real servers."""

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.service.connections import get_database
from libs.settings import Settings
from tests.integration.libs.service.counter_service import CounterService
from tests.support.counters.app import create_service


@pytest.fixture
async def counter_service(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> CounterService:
    place = CounterService(settings, get_database(mongo_client, settings, "counters"), bus)
    await place.migrate(create_service())
    return place
