"""Catch-up subscriptions on a real JetStream stream: each event is applied once and in order, despite crashes."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import AutoReconnect

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore import StoreUnavailable
from libs.messaging.cloudevents import DeliveredEvent
from libs.messaging.nats_connection import connect
from libs.service.connections import create_mongo_client
from libs.service.restore_cutoffs import RESTORE_CUTOFFS
from libs.settings import Settings
from libs.subscriptions.checkpoints import CheckpointConflict
from libs.subscriptions.subscription import CatchUpSubscription
from libs.tasks import cancel_and_wait
from tests.support.counters.counters import CounterRaised
from tests.support.infrastructure.event_log import EventLog, create_event_log
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.waiting import eventually

POISON_EVENT = CounterRaised(by=-1)


class HandlerError(Exception):
    pass


@dataclass
class Ledger:
    """A projection that stores the ids of applied events, which shows duplicates, gaps and a wrong order."""

    log: EventLog
    stopped: list[tuple[str, bool, int]] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    is_healed: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception = field(default_factory=HandlerError)  # raised for POISON_EVENT

    async def apply(self, batch: Sequence[DeliveredEvent], session: AsyncClientSession | None) -> None:
        self.batch_sizes.append(len(batch))
        for delivered in batch:
            if delivered.recorded.event == POISON_EVENT and not self.is_healed.is_set():
                raise self.fault
            await self.log.database["ledger"].update_one(
                {"_id": delivered.recorded.stream},
                {"$push": {"ids": delivered.recorded.id}},
                upsert=True,
                session=session,
            )

    async def reset(self) -> None:
        await self.log.database["ledger"].delete_many({})

    def on_state(self, name: str, stopped: bool, behind: int) -> None:
        self.stopped.append((name, stopped, behind))

    def follower(self, *, transaction: bool = True, batch_seconds: float = 0.0) -> CatchUpSubscription:
        return CatchUpSubscription(
            self.log.bus,
            self.log.database,
            "ledger",
            self.log.service,
            self.apply,
            transactional=transaction,
            reset=self.reset,
            on_state=self.on_state,
            batch_seconds=batch_seconds,
        )

    @asynccontextmanager
    async def following(self, *, batch_seconds: float = 0.0) -> AsyncIterator["asyncio.Task[None]"]:
        """Run a subscription. Its task is canceled at the end, as in a shutdown that is not clean."""
        task = asyncio.create_task(self.follower(batch_seconds=batch_seconds).run())
        try:
            yield task
        finally:
            await cancel_and_wait([task])
            await asyncio.gather(task, return_exceptions=True)

    async def applied_ids(self) -> dict[str, list[str]]:
        return {document["_id"]: document["ids"] async for document in self.log.database["ledger"].find({})}

    async def count(self) -> int:
        return sum(len(ids) for ids in (await self.applied_ids()).values())

    async def has_at_least(self, count: int) -> bool:
        return await self.count() >= count

    async def is_complete(self) -> bool:
        return await self.applied_ids() == await self.log.list_by_stream()


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    return await create_event_log(settings, mongo_client, bus)


@pytest.fixture
def ledger(log: EventLog) -> Ledger:
    return Ledger(log)


async def test_a_subscription_applies_all_events_in_order(log: EventLog, ledger: Ledger) -> None:
    await log.append_commits(120)
    async with log.running_relay(), ledger.following():
        await log.append_commits(60, start=120)
        await eventually(ledger.is_complete)
    assert ledger.stopped[-1] == ("ledger", False, 0)


async def test_a_subscription_collects_events_between_two_batches(log: EventLog, ledger: Ledger) -> None:
    async with log.running_relay(), ledger.following(batch_seconds=3.0):
        await log.append_commits(1, streams=1)
        await eventually(partial(ledger.has_at_least, 1))
        for number in range(1, 6):
            await log.append_commits(1, streams=1, start=number)
        await eventually(partial(ledger.has_at_least, 6))
    assert ledger.batch_sizes == [1, 5]


async def test_a_subscription_without_transactions_applies_all_events(log: EventLog, ledger: Ledger) -> None:
    await log.append_commits(60)
    await log.publish_all()
    task = asyncio.create_task(ledger.follower(transaction=False).run())
    await eventually(ledger.is_complete)
    await cancel_and_wait([task])


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_often_interrupted_subscription_applies_each_event_once(
    log: EventLog, ledger: Ledger, seed: int
) -> None:
    randomness = random.Random(seed)  # noqa: S311
    await log.append_commits(300)
    await log.publish_all()
    for _ in range(6):
        async with ledger.following():
            await eventually(partial(ledger.has_at_least, min(await ledger.count() + randomness.randrange(1, 60), 300)))
    async with ledger.following():
        await eventually(partial(ledger.has_at_least, 300))
    assert await ledger.is_complete()


async def test_a_second_subscription_of_the_same_name_is_stopped(log: EventLog, ledger: Ledger) -> None:
    async with ledger.following() as first, ledger.following() as second, log.running_relay():
        await log.append_commits(60)
        done, _ = await asyncio.wait({first, second}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in done] == [CheckpointConflict]
        await eventually(ledger.is_complete)


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (HandlerError(), "ERROR"),
        (RequestRejected("INTERNAL_SERVER_ERROR"), "ERROR"),
        (RequestRejected("SERVICE_UNAVAILABLE"), "WARNING"),
        (AutoReconnect(), "WARNING"),
        (StoreUnavailable(), "WARNING"),
    ],
)
async def test_only_a_defect_is_logged_as_an_error(
    log: EventLog, ledger: Ledger, caplog: pytest.LogCaptureFixture, fault: Exception, level: str
) -> None:
    ledger.fault = fault
    await log.append_commits(1, events=[POISON_EVENT])
    await log.publish_all()
    async with ledger.following():
        await eventually(lambda: ("ledger", True, 1) in ledger.stopped)
    assert {record.levelname for record in caplog.records if "before event" in record.getMessage()} == {level}


async def test_a_failing_event_stops_its_subscription_until_it_can_be_applied(log: EventLog, ledger: Ledger) -> None:
    await log.append_commits(10, streams=1)
    await log.append_commits(1, streams=1, start=10, events=[POISON_EVENT])
    await log.append_commits(10, streams=1, start=11)
    await log.publish_all()
    async with ledger.following():
        await eventually(lambda: ("ledger", True, 11) in ledger.stopped)
        assert await ledger.count() == 10
        ledger.is_healed.set()
        await eventually(ledger.is_complete)
    assert ledger.stopped[-1] == ("ledger", False, 0)


async def test_a_message_that_is_not_an_event_stops_the_subscription(log: EventLog, ledger: Ledger) -> None:
    await log.bus.jetstream().publish(f"evt.{log.service}.x.Strange", b"{}", headers={"ce-id": "x@1.0"})
    async with ledger.following() as task:
        await eventually(lambda: ("ledger", True, 1) in ledger.stopped)
        assert not task.done()


async def test_a_subscription_starts_over_when_its_stream_was_purged_and_refilled(
    log: EventLog, ledger: Ledger
) -> None:
    await log.append_commits(30)
    await log.publish_all()
    async with ledger.following():
        await eventually(ledger.is_complete)
    await log.bus.jetstream().purge_stream(log.service)
    await log.append_commits(30, start=30)
    async with ledger.following(), log.running_relay():
        await eventually(ledger.is_complete)


async def test_a_running_subscription_starts_over_when_its_stream_is_purged(log: EventLog, ledger: Ledger) -> None:
    await log.append_commits(30)
    await log.publish_all()
    async with ledger.following():
        await eventually(ledger.is_complete)
        await log.bus.jetstream().purge_stream(log.service)
        await log.append_commits(30, start=30)
        async with log.running_relay():
            await eventually(ledger.is_complete)


async def test_a_subscription_continues_when_its_consumer_was_deleted(log: EventLog, ledger: Ledger) -> None:
    async with log.running_relay(), ledger.following():
        await log.append_commits(10)
        await eventually(ledger.is_complete)
        [consumer] = await log.bus.jetstream().consumers_info(log.service)
        await log.bus.jetstream().delete_consumer(log.service, consumer.name)
        await log.append_commits(10, start=10)
        await eventually(ledger.is_complete)


async def test_a_subscription_waits_while_its_projection_is_being_rebuilt(
    log: EventLog, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.subscriptions.subscription.MAX_RETRY_SECONDS", 0.1)
    await log.append_commits(3)
    await log.publish_all()
    followers = log.database["followers"]
    await followers.insert_one({"_id": "ledger", "incarnation": "rebuilding", "sequence": 0, "event_id": ""})
    async with ledger.following() as task:
        await eventually(lambda: ("ledger", True, 0) in ledger.stopped)
        assert not task.done()
        assert await ledger.count() == 0
        await followers.delete_one({"_id": "ledger"})
        await eventually(ledger.is_complete)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with running_servers(tmp_path) as servers:
        yield servers


async def test_a_subscription_continues_after_nats_was_killed(own_servers: Servers) -> None:
    settings = Settings(mongodb_url=own_servers.mongodb_url, nats_url=own_servers.nats_url)
    async with create_mongo_client(settings, "test") as client:
        bus = await connect(settings, "test")
        log = await create_event_log(settings, client, bus)
        ledger = Ledger(log)
        await log.append_commits(30)
        await log.publish_all()
        async with ledger.following():
            await eventually(ledger.is_complete)
            await asyncio.to_thread(own_servers.nats.kill)
            own_servers.nats.start()
            await asyncio.to_thread(own_servers.nats.wait_ready)
            await eventually(lambda: bus.is_connected)
            await log.append_commits(30, start=30)
            await log.publish_all()
            await eventually(ledger.is_complete, within=20)
        await bus.close()


async def test_events_handled_before_a_backup_are_skipped_also_after_a_restart(log: EventLog, ledger: Ledger) -> None:
    await log.append_commits(6)
    [newest] = [commit["at"] async for commit in log.database["commits"].find({}).sort("at", -1).limit(1)]
    before = newest + timedelta(milliseconds=1)
    await log.database[RESTORE_CUTOFFS].insert_one({"_id": "ledger", "before": before})
    await eventually(lambda: datetime.now(UTC) > before)
    await log.append_commits(6, start=6)
    await log.publish_all()
    for _ in range(2):
        async with ledger.following():
            await eventually(partial(ledger.has_at_least, 6))
    later = {
        stream: [event_id for event_id in ids if int(event_id.split("@")[1][0]) > 2]
        for stream, ids in (await log.list_by_stream()).items()
    }
    assert await ledger.applied_ids() == later
