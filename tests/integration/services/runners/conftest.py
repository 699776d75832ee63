"""Fixtures: replicas of the runners service on one database."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from opentelemetry.metrics import NoOpMeterProvider
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.observability.metrics import Metrics
from libs.service.connections import create_vault
from libs.service.declaration import Service
from libs.service.runtime import Runtime
from libs.settings import Settings
from services.runners.app import create_service
from tests.integration.services.runners.runners_replica import Replica
from tests.support.in_process.service_stage import ServiceStage, delete_documents, empty_stage, migrated_database
from tests.support.infrastructure.servers import Servers

OFFLINE_SECONDS = 0.4


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, runner_offline_seconds=OFFLINE_SECONDS) as stage:
        await stage.migrate(Service("identity", categories=()), Service("projects", categories=()), create_service())
        yield stage


@pytest.fixture(scope="module")
async def shared_database(servers: Servers) -> AsyncIterator[AsyncDatabase[Document]]:
    async with migrated_database(servers, create_service()) as database:
        yield database


@pytest.fixture
async def replicas(
    shared_database: AsyncDatabase[Document], settings: Settings, bus: Client
) -> tuple[Replica, Replica]:
    await delete_documents(shared_database)
    own_settings = settings.model_copy(update={"runner_offline_seconds": OFFLINE_SECONDS})
    metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
    vault = create_vault(shared_database, settings)
    first, second = (
        Replica(Runtime(create_service(), own_settings, shared_database, bus, vault, metrics)) for _ in range(2)
    )
    return first, second


@pytest.fixture
def replica(replicas: tuple[Replica, Replica]) -> Replica:
    return replicas[0]
