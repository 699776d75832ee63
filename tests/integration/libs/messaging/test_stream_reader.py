"""The reader of ordered events: few requests, any start position, and no gap without an error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.messaging.stream_reader import ReaderLost, StreamReader
from libs.settings import Settings
from tests.support.infrastructure.event_log import EventLog, create_event_log


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    log = await create_event_log(settings, mongo_client, bus)
    await log.append_commits(5)
    await log.publish_all()
    return log


@pytest.fixture
async def reader(log: EventLog) -> AsyncIterator[StreamReader]:
    """Yield a reader that has received the five events of the log."""
    async with aclosing(await StreamReader.open(log.bus, log.service)) as reader:
        assert await read_sequences(reader, 5) == [1, 2, 3, 4, 5]
        yield reader


async def read_sequences(reader: StreamReader, count: int) -> list[int]:
    sequences: list[int] = []
    async with asyncio.timeout(10):
        while len(sequences) < count:
            sequences += [message.metadata.sequence.stream for message in await reader.fetch()]
    return sequences


async def publish_one(log: EventLog, number: int) -> None:
    await log.append_commits(1, start=number)
    await log.publish_all()


async def test_events_that_arrive_alone_share_a_request(log: EventLog, reader: StreamReader) -> None:
    requests: list[Msg] = []

    async def record(message: Msg) -> None:
        requests.append(message)

    listening = await log.bus.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{log.service}.*", cb=record)
    for number in range(5, 15):
        await publish_one(log, number)
        assert await read_sequences(reader, 1) == [number + 1]
    assert await reader.fetch(timeout=3) == []
    await listening.unsubscribe()
    assert 1 <= len(requests) <= 5


async def test_a_reader_starts_after_an_event_or_at_a_time(log: EventLog, reader: StreamReader) -> None:
    now = datetime.now(UTC)
    async with (
        aclosing(await StreamReader.open(log.bus, log.service, after=3)) as after_event,
        aclosing(await StreamReader.open(log.bus, log.service, since=now - timedelta(hours=1))) as earlier,
        aclosing(await StreamReader.open(log.bus, log.service, since=now)) as new,
    ):
        assert [await each.count_pending() for each in (after_event, earlier, new)] == [2, 5, 0]
        assert await read_sequences(after_event, 2) == [4, 5]
        await publish_one(log, 5)
        assert await read_sequences(new, 1) == [6]


async def test_a_reconnect_is_reported_because_events_may_be_lost_with_the_connection(
    log: EventLog, reader: StreamReader
) -> None:
    reconnects = log.bus.stats["reconnects"]
    await log.bus.force_reconnect()
    while log.bus.stats["reconnects"] == reconnects:
        await reader.fetch(0.1)
    with pytest.raises(ReaderLost):
        await reader.fetch()


async def test_a_gap_between_events_is_reported(log: EventLog, reader: StreamReader) -> None:
    [consumer] = await log.bus.jetstream().consumers_info(log.service)
    thief = await log.bus.jetstream().pull_subscribe_bind(consumer=consumer.name, stream=log.service)
    stealing = asyncio.create_task(thief.fetch(1, 10))

    async def publish_and_read() -> None:
        for number in range(5, 30):
            await publish_one(log, number)
            await reader.fetch(0.2)

    with pytest.raises(ReaderLost):
        await publish_and_read()
    assert len(await stealing) == 1


async def test_a_removed_consumer_is_reported(log: EventLog, reader: StreamReader) -> None:
    [consumer] = await log.bus.jetstream().consumers_info(log.service)
    await log.bus.jetstream().delete_consumer(log.service, consumer.name)
    with pytest.raises(NotFoundError):
        await read_sequences(reader, 1)
