"""Fixtures: migrated servers with the real NATS permissions, and a connection with the login `runners`."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from nats.aio.client import Client

from infra.local.servers import Servers
from infra.service_catalog import load_services
from libs.messaging.nats_connection import connect
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.migration import migrate
from libs.settings import Settings
from tests.support.infrastructure.servers import running_servers


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="package", autouse=True)
async def migrated(servers: Servers) -> None:
    """Create all streams, mirrors and consumers with the login of `headrace server migrate`."""
    settings = Settings(
        mongodb_url=servers.mongodb_url,
        nats_url=servers.nats_url_for("migrate"),
        master_keys=(bytes(32),),
        database_prefix=f"test-{uuid4().hex[:8]}",
    )
    services, bus = load_services(), await connect(settings, "migrate")
    async with create_mongo_client(settings, "test") as client:
        databases = [get_database(client, settings, service.name) for service in services]
        await migrate(services, databases, [create_vault(database, settings) for database in databases], bus)
    await bus.close()


@pytest.fixture
async def runners(servers: Servers) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=servers.nats_url_for("runners")), "test")
    yield client
    await client.close()
