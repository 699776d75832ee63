"""Fixture: the projects service with a clock that tests set."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import get_meter
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.observability.metrics import Metrics
from libs.service.connections import get_database
from libs.service.declaration import Service
from libs.service.migration import migrate
from libs.service.runtime import Runtime
from libs.settings import Settings
from services.projects.app import service
from tests.integration.services.projects.schedules.schedule_stage import ScheduleStage
from tests.support.in_process.gateway_stage import FakeServices
from tests.support.memory_key_vault import MemoryKeyVault


@pytest.fixture
async def stage(
    settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client
) -> AsyncIterator[ScheduleStage]:
    database = get_database(mongo_client, settings, "projects")
    vault = MemoryKeyVault()
    others = [Service(name, categories=()) for name in ("identity", "builds")]
    await migrate([*others, service], [database] * 3, [vault] * 3, bus)
    elsewhere = FakeServices(bus)
    runtime = Runtime(service, settings, database, bus, vault, Metrics.create(get_meter("test")))
    stage = ScheduleStage(runtime, elsewhere)
    await stage.prepare()
    yield stage
    await runtime.finish(5)
    for message_type in tuple(elsewhere.responders):
        await elsewhere.stop(message_type)
