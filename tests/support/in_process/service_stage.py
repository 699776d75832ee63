"""Services in this process on a real mongod and nats-server, with databases of their own and empty streams."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from pymongo.asynchronous.database import AsyncDatabase

from infra.service_catalog import SERVICES
from libs.clock import Clock
from libs.documents import Document
from libs.messaging.nats_connection import connect
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from libs.service.migration import migrate
from libs.service.service_host import serve
from libs.settings import Settings
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS

# Prefixes of databases that a stage has emptied and another may use, by MongoDB server. Creating the collections and
# indexes of a service takes half of the CPU time of a stage.
EMPTIED_PREFIXES = defaultdict[str, list[str]](list)


@dataclass(frozen=True)
class ServiceStage:
    settings: Settings
    servers: Servers | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        bus = await connect(self.settings, "test")
        try:
            yield bus
        finally:
            await bus.close()

    async def delete_streams(self) -> None:
        async with self.connected() as bus:
            manager = bus.jetstream(timeout=WITHIN_SECONDS)
            for stream in await manager.streams_info():
                await manager.delete_stream(str(stream.config.name))

    async def migrate(self, *services: Service) -> None:
        """Migrate these services, and create the streams of the services whose events they follow."""
        followed = {source for service in services for source in sources_of(service)} - {
            service.name for service in services
        }
        services = (*services, *(Service(name, categories=()) for name in sorted(followed)))
        async with self.connected() as bus, create_mongo_client(self.settings, "test") as client:
            databases = [get_database(client, self.settings, service.name) for service in services]
            vaults = [create_vault(database, self.settings) for database in databases]
            async with asyncio.timeout(WITHIN_SECONDS):
                while True:
                    with suppress(NatsTimeoutError):  # a busy server; the migration can be repeated
                        await migrate(services, databases, vaults, bus)
                        return

    @asynccontextmanager
    async def running(
        self,
        declare: Callable[[], Service],
        *,
        replicas: int = 1,
        instance: str = "replica",
        clock: Clock | None = None,
    ) -> AsyncIterator[None]:
        """Run replicas of a migrated service for the block, which starts when one of them answers requests."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(replicas):
                own = self._settings_of(declare().name).model_copy(update={"instance": f"{instance}-{number}"})
                group.create_task(serve(declare(), own, stop, clock))
            try:
                await self._wait_until_answering(declare())
                yield
            finally:
                stop.set()

    def _settings_of(self, service: str) -> Settings:
        """Return settings with the NATS login of this service, so that its NATS permissions apply."""
        if self.servers is None or service not in SERVICES:
            return self.settings
        return self.settings.model_copy(update={"nats_url": self.servers.nats_url_for(service)})

    async def _wait_until_answering(self, service: Service) -> None:
        """Wait until the service answers requests. Until then NATS replies that there are no responders."""
        subject = service.handlers[0].message.subject()
        async with self.connected() as bus, asyncio.timeout(WITHIN_SECONDS):
            while True:
                with suppress(NoRespondersError, NatsTimeoutError):
                    await bus.request(subject, b"", timeout=5)
                    return
                await asyncio.sleep(0.02)


def sources_of(service: Service) -> set[str]:
    return {
        *service.followed_sources,
        *(worker.source for worker in service.workers),
    }


@asynccontextmanager
async def empty_stage(servers: Servers, **settings: Any) -> AsyncIterator[ServiceStage]:
    emptied = EMPTIED_PREFIXES[servers.mongodb_url]
    prefix = emptied.pop() if emptied else f"test-{uuid4().hex[:8]}"
    stage = ServiceStage(
        Settings(
            mongodb_url=servers.mongodb_url,
            nats_url=servers.nats_url,
            master_keys=(bytes(32),),
            database_prefix=prefix,
        ).model_copy(update=settings),  # model_copy does not validate: tests use shorter times than an operator may set
        servers,
    )
    await stage.delete_streams()
    yield stage
    # After a failure the databases stay, unused: services that did not stop could write to them.
    await stage.delete_streams()
    async with create_mongo_client(stage.settings, "test") as client:
        for name in await client.list_database_names():
            if name.startswith(f"{prefix}_"):
                await delete_documents(client[name])
    emptied.append(prefix)


@asynccontextmanager
async def migrated_database(servers: Servers, service: Service) -> AsyncIterator[AsyncDatabase[Document]]:
    async with empty_stage(servers) as stage, create_mongo_client(stage.settings, "test") as client:
        await stage.migrate(service)
        yield get_database(client, stage.settings, service.name)


async def delete_documents(database: AsyncDatabase[Document]) -> None:
    """Delete all documents except the row versions, so that the database is as after a migration."""
    for name in await database.list_collection_names():
        if name == "system.profile":
            await database.drop_collection(name)
        elif name != "views":
            await database[name].delete_many({})
