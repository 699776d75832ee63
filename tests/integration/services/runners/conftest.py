"""Fixtures: the migrated runners service, and two of its replicas, which tests call directly."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.metrics import NoOpMeterProvider

from libs.observability.metrics import Metrics
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from libs.service.runtime import Runtime
from services.runners.app import create_service
from tests.integration.services.runners.runners_replica import Replica
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, runner_offline_seconds=0.4) as stage:
        await stage.migrate(Service("identity", categories=()), Service("projects", categories=()), create_service())
        yield stage


@pytest.fixture
async def replicas(stage: ServiceStage) -> AsyncIterator[tuple[Replica, Replica]]:
    metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
    async with stage.connected() as bus, create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "runners")
        vault = create_vault(database, stage.settings)
        first, second = (
            Replica(Runtime(create_service(), stage.settings, database, bus, vault, metrics)) for _ in range(2)
        )
        yield first, second


@pytest.fixture
def replica(replicas: tuple[Replica, Replica]) -> Replica:
    return replicas[0]
