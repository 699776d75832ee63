"""The tests' counter service: replicas run in this process and are used over NATS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import NoRespondersError
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata
from libs.messaging.request_reply import MessageClient
from libs.projections.rebuild import rebuild_projection
from libs.service.connections import create_vault
from libs.service.declaration import Service
from libs.service.migration import migrate
from libs.service.service_host import serve
from libs.settings import Settings
from libs.subscriptions.event_log import DatabaseLog
from tests.support.counters.app import create_service, totals
from tests.support.counters.counters import (
    CounterView,
    GetCounter,
)
from tests.support.waiting import eventually


@dataclass(frozen=True)
class CounterService:
    settings: Settings
    database: AsyncDatabase[Document]
    bus: Client

    async def migrate(self, service: Service) -> list[str]:
        return await migrate([service], [self.database], [create_vault(self.database, self.settings)], self.bus)

    async def send(self, command: Command, command_id: str | None = None) -> CommandReply:
        return CommandReply.model_validate_json(await MessageClient(self.bus).send(command, command_id=command_id))

    async def get_counter(self, counter_id: str) -> CounterView:
        return CounterView.model_validate_json(await MessageClient(self.bus).query(GetCounter(counter_id=counter_id)))

    async def get_value(self, counter_id: str) -> int:
        try:
            return (await self.get_counter(counter_id)).value
        except RequestRejected:
            return 0

    async def find_leader(self) -> str:
        try:
            return (await self.bus.request("lead.counters", b"", timeout=1)).data.decode()
        except (NoRespondersError, TimeoutError):  # there is no leader, or the leader was just killed
            return ""

    def run_replica(self, number: int, stop: asyncio.Event, service: Service | None = None) -> Awaitable[None]:
        return serve(
            service or create_service(), self.settings.model_copy(update={"instance": f"replica-{number}"}), stop
        )

    @asynccontextmanager
    async def running(self, service: Service | None = None, *, replicas: int = 2) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(self.run_replica(number, stop, service)) for number in range(replicas)]
        try:
            await eventually(self.is_answering)
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def is_answering(self) -> bool:
        try:
            return await self.get_counter("unknown") is None
        except RequestRejected as refused:
            return refused.code == "NOT_FOUND"

    async def count_commits(self, stream: str) -> int:
        return await self.database["commits"].count_documents({"stream": stream})

    async def read_totals(self) -> dict[str, tuple[int, int]]:
        found = self.database["view_totals_v1"].find({})
        return {document["_id"]: (document["row"]["raises"], document["row"]["total"]) async for document in found}

    async def compute_totals_from_log(self) -> dict[str, tuple[int, int]]:
        """Compute from the event log what `read_totals` must return: raises and total of each counter."""
        raised: list[Document] = [
            {"$unwind": "$events"},
            {"$match": {"events.name": "CounterRaised"}},
            {"$group": {"_id": "$stream", "raises": {"$sum": 1}, "total": {"$sum": "$events.data.by"}}},
        ]
        found = await self.database["commits"].aggregate(raised)
        return {document["_id"]: (document["raises"], document["total"]) async for document in found}

    async def is_caught_up(self) -> bool:
        return await self.read_totals() == await self.compute_totals_from_log()


async def rebuild_totals(service: CounterService) -> int:
    return await rebuild_projection(service.database, totals, service.bus, DatabaseLog(service.database))


def new_metadata() -> CommandMetadata:
    return CommandMetadata(uuid4().hex, now())
