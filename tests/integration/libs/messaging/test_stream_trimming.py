"""Trimming of a stream: the events that it keeps, and the relay and subscriptions afterwards."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from pymongo import AsyncMongoClient

from infra.doctor import nats_checks
from libs.documents import Document
from libs.messaging.jetstream import create_stream
from libs.messaging.stream_mirrors import MIRROR_API, ensure_mirror, find_mirror_end
from libs.retention import stream_trimming
from libs.retention.stream_trimming import MIN_AGE, StreamLimits, trim_stream
from libs.service.declaration import Service
from libs.settings import Settings
from libs.subscriptions.checkpoints import CHECKPOINTS, Checkpoint
from tests.support.infrastructure.event_log import EventLog, create_event_log
from tests.support.waiting import eventually

ONE_HOUR = StreamLimits(age=MIN_AGE, size_bytes=None)


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    """Return a log whose 30 events are in its stream."""
    log = await create_event_log(settings, mongo_client, bus)
    await log.append_commits(30)
    await log.publish_all()
    return log


async def publish_until(log: EventLog, sequence: int) -> None:
    async def is_published() -> bool:
        return (await log.bus.jetstream().stream_info(log.service)).state.last_seq >= sequence

    async with log.running_relay():
        await eventually(is_published)


async def trim(
    log: EventLog, limits: StreamLimits = ONE_HOUR, *, at: datetime | None = None, subscriptions: tuple[str, ...] = ()
) -> tuple[int, int]:
    """Trim the stream as of `at`, by default a time at which all events are old.

    Return its first and last sequence number.
    """
    at = at or datetime.now(UTC) + 2 * MIN_AGE
    await trim_stream(log.bus, log.database, log.service, subscriptions, limits, at, public=False)
    state = (await log.bus.jetstream().stream_info(log.service)).state
    return state.first_seq, state.last_seq


async def test_the_last_event_stays_and_the_relay_continues_after_it(log: EventLog) -> None:
    assert await trim(log) == (30, 30)
    await log.append_commits(3, start=30)
    await publish_until(log, 33)
    assert [len(events) for events in (await log.list_published_by_stream()).values()] == [2, 1, 1]


async def test_events_are_kept_for_the_age_limit(log: EventLog) -> None:
    at = datetime.now(UTC)
    await log.append_commits(6, start=30)
    await publish_until(log, 36)
    assert await trim(log, at=at + MIN_AGE - timedelta(minutes=1)) == (1, 36)
    assert await trim(log, at=at + MIN_AGE) == (30, 36)


async def test_a_large_stream_is_trimmed_to_its_size_but_not_the_last_hour(log: EventLog) -> None:
    size = (await log.bus.jetstream().stream_info(log.service)).state.bytes
    half = StreamLimits(age=None, size_bytes=size // 2)
    assert await trim(log, half, at=datetime.now(UTC)) == (1, 30)
    first, _ = await trim(log, half)
    assert 15 <= first <= 17


async def test_without_limits_nothing_is_trimmed(log: EventLog) -> None:
    assert await trim(log, StreamLimits(age=None, size_bytes=None)) == (1, 30)


async def test_events_that_a_worker_has_not_handled_are_kept(log: EventLog) -> None:
    js = log.bus.jetstream()
    await js.add_consumer(log.service, ConsumerConfig(durable_name="worker", ack_policy=AckPolicy.EXPLICIT))
    assert await trim(log) == (1, 30)
    worker = await js.pull_subscribe_bind("worker", log.service)
    for message in await worker.fetch(10):
        await message.ack_sync()
    assert await trim(log) == (10, 30)
    for message in await worker.fetch(20):
        await message.ack_sync()
    assert await trim(log) == (30, 30)


async def test_events_that_a_subscription_of_the_service_has_not_handled_are_kept(log: EventLog) -> None:
    assert await trim(log, subscriptions=("view",)) == (1, 30)
    created = str((await log.bus.jetstream().stream_info(log.service)).created)
    checkpoint = Checkpoint(created, 20)
    await log.database[CHECKPOINTS].insert_one({"_id": "view", **checkpoint.to_document()})
    assert await trim(log, subscriptions=("view", "view_2")) == (1, 30)
    assert await trim(log, subscriptions=("view",)) == (20, 30)
    of_former_stream = replace(checkpoint, incarnation="2020-01-01", sequence=29)
    await log.database[CHECKPOINTS].replace_one({"_id": "view"}, of_former_stream.to_document())
    assert await trim(log, subscriptions=("view",)) == (20, 30)


async def test_events_that_the_mirror_has_not_copied_are_kept_and_the_mirror_is_trimmed_too(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    js, copies = log.bus.jetstream(), log.bus.jsm(prefix=MIRROR_API)
    # the NATS configuration allows mirrors of the public services only
    info = await create_stream(js, StreamConfig(name="builds", subjects=["evt.builds.>"]))
    for number in range(30):
        await js.publish(f"evt.builds.build-{number}.BuildQueued", b"{}")
    await ensure_mirror(log.bus, info)
    await eventually(lambda: find_mirror_end(log.bus, "builds"), lambda end: end == 30)
    at = datetime.now(UTC) + 2 * MIN_AGE
    trim_public = partial(trim_stream, log.bus, log.database, "builds", (), ONE_HOUR, at, public=True)
    with monkeypatch.context() as patch:
        patch.setattr(stream_trimming, "find_mirror_end", find_slow_mirror_end)
        assert await trim_public() == 11
    assert await trim_public() == 18
    assert (await copies.stream_info("builds")).state.first_seq == 30
    await copies.delete_stream("builds")


async def find_slow_mirror_end(_client: Client, _stream: str) -> int:
    return 12


async def test_doctor_reports_no_finding_for_a_trimmed_stream(log: EventLog) -> None:
    assert await trim(log) == (30, 30)
    findings = nats_checks.check_relay(log.bus, Service(log.service, ()), log.database)
    assert [finding.what async for finding in findings] == []
