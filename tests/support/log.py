"""A log of toy events and its JetStream stream: filled by tests of relays, followers and workers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from nats.aio.client import Client
from nats.js.api import StreamConfig
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from contracts.messages import Event
from libs.connections import Document, database_of
from libs.deciding import Actor, Cause
from libs.ending import end
from libs.eventstore import Decision
from libs.eventstore.mongo import MongoStore, prepare_database
from libs.relay import Relay
from libs.security.sealing import MemoryVault
from libs.settings import Settings
from libs.streams import made
from tests.support import event_ids, eventually
from tests.toy.counters import CounterRaised, CounterView
from tests.toy.domain import counters

RAISED = CounterRaised(by=1)


@dataclass(frozen=True)
class Log:
    service: str
    database: AsyncDatabase[Document]
    store: MongoStore
    bus: Client

    async def add(self, count: int, *, streams: int = 3, start: int = 0, events: Sequence[Event] = (RAISED,)) -> None:
        """`count` decisions of one stream after the other, several at once."""
        places = range(start, start + count)
        await asyncio.gather(*(self._grow(place, streams, places, events) for place in range(streams)))

    async def _grow(self, place: int, streams: int, places: Sequence[int], events: Sequence[Event]) -> None:
        for expected in (number // streams for number in places if number % streams == place):
            cause = Cause(uuid4().hex, datetime.now(UTC), Actor(7, "ivan"), "RaiseCounter", "00-trace-01")
            row = CounterView(value=expected + 1)
            await self.store.append(Decision(counters, f"counter-{place}", expected, events, cause, row))

    async def event_ids(self) -> list[str]:
        """What the log holds, stream by stream."""
        found = self.database["commits"].find({}).sort([("stream", 1), ("version", 1)])
        return [
            f"{one['stream']}@{one['version']}.{place}" async for one in found for place in range(len(one["events"]))
        ]

    async def published(self) -> int:
        return (await self.bus.jetstream().stream_info(self.service)).state.messages

    async def is_published(self) -> bool:
        return await self.published() >= len(await self.event_ids())

    async def published_by_stream(self) -> Mapping[str, Sequence[str]]:
        """The ids in JetStream in their order there, by the stream of the log that they belong to."""
        by_stream: dict[str, list[str]] = defaultdict(list)
        for event_id in await event_ids(self.bus, self.service):
            by_stream[event_id.partition("@")[0]].append(event_id)
        return by_stream

    async def by_stream(self) -> Mapping[str, Sequence[str]]:
        by_stream: dict[str, list[str]] = defaultdict(list)
        for event_id in await self.event_ids():
            by_stream[event_id.partition("@")[0]].append(event_id)
        return by_stream

    @asynccontextmanager
    async def relayed(self) -> AsyncIterator["asyncio.Task[None]"]:
        """A relay that runs as long as the block; it is cut off without a goodbye."""
        relay = asyncio.create_task(Relay(self.bus, self.database, self.service).run())
        try:
            yield relay
        finally:
            await end([relay])
            await asyncio.gather(relay, return_exceptions=True)  # tests that want to know how it ended have looked

    async def publish(self) -> None:
        """Have everything published that is in the log."""
        async with self.relayed():
            await eventually(self.is_published)


async def new_log(settings: Settings, client: AsyncMongoClient[Document], bus: Client) -> Log:
    service = f"toy{uuid4().hex[:8]}"
    database = database_of(client, settings, service)
    await prepare_database(database)
    await made(bus.jetstream(), StreamConfig(name=service, subjects=[f"evt.{service}.>"]))
    return Log(service, database, MongoStore(database, MemoryVault()), bus)
