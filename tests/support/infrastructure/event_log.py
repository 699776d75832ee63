"""An event log of counters and its JetStream stream, for tests of relays, subscriptions and workers."""

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
from libs.documents import Document
from libs.eventstore import PendingCommit
from libs.eventstore.decider import Actor, CommandMetadata
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.messaging.jetstream import create_stream
from libs.messaging.relay import Relay
from libs.service.connections import get_database
from libs.settings import Settings
from libs.tasks import cancel_and_wait
from tests.support import read_event_ids
from tests.support.counters.counters import CounterRaised, CounterView
from tests.support.counters.domain import counters
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import eventually

RAISED = CounterRaised(by=1)


@dataclass(frozen=True)
class EventLog:
    service: str
    database: AsyncDatabase[Document]
    store: MongoEventStore
    bus: Client

    async def append_commits(
        self, count: int, *, streams: int = 3, start: int = 0, events: Sequence[Event] = (RAISED,)
    ) -> None:
        """Append `count` commits, spread over `streams` event streams, which are written concurrently."""
        numbers = range(start, start + count)
        await asyncio.gather(*(self._append_to_stream(index, streams, numbers, events) for index in range(streams)))

    async def _append_to_stream(
        self, index: int, streams: int, numbers: Sequence[int], events: Sequence[Event]
    ) -> None:
        for expected in (number // streams for number in numbers if number % streams == index):
            cause = CommandMetadata(uuid4().hex, datetime.now(UTC), Actor(7, "ivan"), "RaiseCounter", "00-trace-01")
            row = CounterView(value=expected + 1)
            await self.store.append(PendingCommit(counters, f"counter-{index}", expected, events, cause, row))

    async def list_event_ids(self) -> list[str]:
        commits = self.database["commits"].find({}).sort([("stream", 1), ("version", 1)])
        return [
            f"{commit['stream']}@{commit['version']}.{index}"
            async for commit in commits
            for index in range(len(commit["events"]))
        ]

    async def count_published(self) -> int:
        return (await self.bus.jetstream().stream_info(self.service)).state.messages

    async def is_published(self) -> bool:
        return await self.count_published() >= len(await self.list_event_ids())

    async def list_published_by_stream(self) -> Mapping[str, Sequence[str]]:
        """Return the published event ids in JetStream order, grouped by event stream."""
        by_stream: dict[str, list[str]] = defaultdict(list)
        for event_id in await read_event_ids(self.bus, self.service):
            by_stream[event_id.partition("@")[0]].append(event_id)
        return by_stream

    async def list_by_stream(self) -> Mapping[str, Sequence[str]]:
        by_stream: dict[str, list[str]] = defaultdict(list)
        for event_id in await self.list_event_ids():
            by_stream[event_id.partition("@")[0]].append(event_id)
        return by_stream

    @asynccontextmanager
    async def running_relay(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Run a relay. Its task is canceled at the end, as in a shutdown that is not clean."""
        relay = asyncio.create_task(Relay(self.bus, self.database, self.service).run())
        try:
            yield relay
        finally:
            await cancel_and_wait([relay])
            # A test that needs the outcome awaits the task itself.
            await asyncio.gather(relay, return_exceptions=True)

    async def publish_all(self) -> None:
        async with self.running_relay():
            await eventually(self.is_published)


async def create_event_log(settings: Settings, client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    service = f"toy{uuid4().hex[:8]}"
    database = get_database(client, settings, service)
    await create_schema(database)
    await create_stream(bus.jetstream(), StreamConfig(name=service, subjects=[f"evt.{service}.>"]))
    return EventLog(service, database, MongoEventStore(database, MemoryKeyVault()), bus)
