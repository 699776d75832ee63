"""Workers on a real JetStream consumer: no event is dropped, handled twice at once or forgotten."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient

from libs.documents import Document
from libs.eventstore.decider import AnyEvent, RecordedEvent
from libs.messaging import cloudevents
from libs.reactions import workers
from libs.reactions.parking import ParkedEvents
from libs.reactions.workers import WorkerPool
from libs.service.declaration import AnyWorker, Context, RetryLater, Worker
from libs.service.migration import ensure_consumer
from libs.settings import Settings
from tests.support import read_stream_messages
from tests.support.counters.counters import CounterClosed, CounterOpened, CounterRaised
from tests.support.infrastructure.event_log import EventLog, create_event_log
from tests.support.waiting import eventually

Handler = Callable[[RecordedEvent[Any]], Awaitable[None]]


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> EventLog:
    return await create_event_log(settings, mongo_client, bus)


async def unused_handler(_context: Context, _recorded: RecordedEvent[Any]) -> None:
    """Satisfy the worker's declaration. Each pool of a test uses a handler of its own instead."""


@dataclass
class WorkerStage:
    """A worker that runs in as many pools as a test starts."""

    log: EventLog
    settings: Settings
    worker: AnyWorker
    parked: ParkedEvents
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running_pool(
        self, work: Handler, *, shutdown_timeout: float = 8.0, handled: Mapping[str, datetime] | None = None
    ) -> AsyncIterator[WorkerPool]:
        async def track_work(recorded: RecordedEvent[Any], *, may_be_duplicate: bool = True) -> None:
            self.begun.append(recorded.id)
            await work(recorded)
            self.done.append(recorded.id)

        pool = WorkerPool(self.settings, "counters", self.parked.park, handled, shutdown_timeout=shutdown_timeout)
        pool.register(self.worker, track_work)
        await pool.start()
        try:
            yield pool
        finally:
            await pool.stop()

    async def count_unacknowledged(self) -> int:
        info = await self.log.bus.jetstream().consumer_info(self.worker.source, f"counters-{self.worker.name}")
        return int(info.num_ack_pending or 0) + int(info.num_pending or 0)

    async def is_all_done(self) -> bool:
        return await self.count_unacknowledged() == 0


@pytest.fixture
async def stage(log: EventLog, settings: Settings) -> WorkerStage:
    worker = Worker(
        "dig", log.service, (CounterRaised, CounterClosed), unused_handler, concurrency=3, ack_wait_seconds=1.0
    )
    await ensure_consumer("counters", worker, log.bus)
    return WorkerStage(log, settings, worker, ParkedEvents(log.database))


async def finish_immediately(_recorded: RecordedEvent[Any]) -> None:
    pass


async def test_a_worker_gets_only_its_declared_events(log: EventLog, stage: WorkerStage) -> None:
    await log.append_commits(1, streams=1, events=[CounterOpened(label="a", owner=""), CounterRaised(by=1)])
    await log.append_commits(1, streams=1, start=1, events=[CounterClosed(label="a")])
    await log.publish_all()
    async with stage.running_pool(finish_immediately):
        await eventually(stage.is_all_done)
    assert set(stage.done) == {"counter-0@1.1", "counter-0@2.0"}  # NATS may redeliver on a loaded machine


async def test_failed_work_is_retried_and_not_dropped(log: EventLog, stage: WorkerStage) -> None:
    async def fail_twice(recorded: RecordedEvent[Any]) -> None:
        if stage.begun.count(recorded.id) < 3:
            raise ValueError("not yet")

    await log.append_commits(3)
    await log.publish_all()
    async with stage.running_pool(fail_twice):
        await eventually(stage.is_all_done)
    assert Counter(stage.begun) == dict.fromkeys(await log.list_event_ids(), 3)
    assert sorted(stage.done) == await log.list_event_ids()


async def test_a_worker_can_ask_for_a_later_retry(log: EventLog, stage: WorkerStage) -> None:
    async def ask_for_retry(recorded: RecordedEvent[Any]) -> None:
        if stage.begun.count(recorded.id) == 1:
            raise RetryLater(0.05)

    await log.append_commits(1)
    await log.publish_all()
    async with stage.running_pool(ask_for_retry):
        await eventually(stage.is_all_done)
    assert (len(stage.begun), len(stage.done)) == (2, 1)


async def test_long_work_is_not_redelivered_to_another_replica(log: EventLog, stage: WorkerStage) -> None:
    finish = asyncio.Event()

    async def wait_for_finish(_recorded: RecordedEvent[Any]) -> None:
        await finish.wait()

    await log.append_commits(1)
    await log.publish_all()
    async with stage.running_pool(wait_for_finish), stage.running_pool(wait_for_finish):
        await eventually(lambda: len(stage.begun) == 1)
        with pytest.raises(AssertionError):  # the second pool must not get the event, even long after the ack wait
            await eventually(lambda: len(stage.begun) > 1, within=2.5)
        finish.set()
        await eventually(stage.is_all_done)
    assert len(stage.done) == 1


async def test_a_worker_runs_at_most_its_concurrency_at_once(log: EventLog, stage: WorkerStage) -> None:
    busy: list[int] = [0]
    together = asyncio.Barrier(3)

    async def count_concurrency(_recorded: RecordedEvent[Any]) -> None:
        busy.append(busy[-1] + 1)
        await together.wait()
        busy.append(busy[-1] - 1)

    await log.append_commits(9)
    await log.publish_all()
    async with stage.running_pool(count_concurrency):
        await eventually(stage.is_all_done)
    assert max(busy) == 3


async def test_a_stopping_worker_finishes_its_work(log: EventLog, stage: WorkerStage) -> None:
    started = asyncio.Event()

    async def work_briefly(_recorded: RecordedEvent[Any]) -> None:
        started.set()
        await asyncio.sleep(0.3)

    await log.append_commits(1)
    await log.publish_all()
    async with stage.running_pool(work_briefly):
        await started.wait()
    assert len(stage.done) == 1
    await eventually(stage.is_all_done)


async def test_work_interrupted_by_a_stop_is_taken_over_by_another_replica(log: EventLog, stage: WorkerStage) -> None:
    async def never_finish(_recorded: RecordedEvent[Any]) -> None:
        await asyncio.sleep(60)

    await log.append_commits(6)
    await log.publish_all()
    async with stage.running_pool(never_finish, shutdown_timeout=0.1):
        await eventually(lambda: len(stage.begun) == 3)
    assert stage.done == []
    async with stage.running_pool(finish_immediately):
        await eventually(stage.is_all_done)
    assert sorted(stage.done) == await log.list_event_ids()


async def test_a_deleted_consumer_of_a_running_worker_is_reported(log: EventLog, stage: WorkerStage) -> None:
    async with stage.running_pool(finish_immediately) as pool:
        assert await pool.find_missing_consumers(log.bus) == []
        await log.bus.jetstream().delete_consumer(log.service, "counters-dig")
        assert await pool.find_missing_consumers(log.bus) == ["counters-dig"]


async def test_events_handled_before_a_backup_are_not_handled_by_a_worker_again(
    log: EventLog, stage: WorkerStage
) -> None:
    await log.append_commits(3)
    await log.publish_all()
    async with stage.running_pool(finish_immediately, handled={f"counters-{stage.worker.name}": datetime.now(UTC)}):
        await eventually(stage.is_all_done)
    assert stage.begun == []


@pytest.fixture
async def stage_now(log: EventLog, settings: Settings) -> WorkerStage:
    worker = Worker("dig", log.service, (CounterRaised,), unused_handler, concurrency=3, ack_wait_seconds=5.0, now=True)
    await ensure_consumer("counters", worker, log.bus)
    return WorkerStage(log, settings, worker, ParkedEvents(log.database))


async def read_events(log: EventLog) -> list[AnyEvent]:
    messages = await read_stream_messages(log.bus, log.service)
    return [cloudevents.from_message(message.headers or {}, message.data) for message in messages]


async def test_work_started_now_is_not_started_again_while_it_runs(log: EventLog, stage_now: WorkerStage) -> None:
    finish = asyncio.Event()

    async def wait(_recorded: RecordedEvent[Any]) -> None:
        await finish.wait()

    async def is_delivered_twice() -> bool:
        info = await log.bus.jetstream().consumer_info(log.service, "counters-dig")
        return info.delivered is not None and info.delivered.consumer_seq >= 2

    await log.append_commits(1)
    await log.publish_all()
    async with stage_now.running_pool(wait) as pool:
        pool.start_now(await read_events(log))
        await eventually(is_delivered_twice)
        assert len(stage_now.begun) == 1
        finish.set()
        await eventually(stage_now.is_all_done)


async def test_an_event_that_was_not_started_now_is_left_to_the_consumer(
    log: EventLog, stage_now: WorkerStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_STARTED_NOW", 1)
    finish = asyncio.Event()

    async def wait(_recorded: RecordedEvent[Any]) -> None:
        await finish.wait()

    await log.append_commits(5)
    await log.publish_all()
    async with stage_now.running_pool(wait) as pool:
        pool.start_now(await read_events(log))
        await eventually(lambda: len(stage_now.begun) == 1)
        finish.set()
        await eventually(stage_now.is_all_done)
    assert {*stage_now.done} == {*await log.list_event_ids()}


async def test_an_unreadable_event_is_not_redelivered_in_a_loop(log: EventLog, stage: WorkerStage) -> None:
    await log.append_commits(1)
    await log.publish_all()
    [message] = await read_stream_messages(log.bus, log.service)
    attributes = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
    later = attributes | {"ce-id": "counter-9@1.0", "ce-schemaversion": "99"}
    await log.bus.jetstream().publish(message.subject, message.data, headers=later)
    async with stage.running_pool(finish_immediately):
        await eventually(lambda: len(stage.done) == 1)
        await asyncio.sleep(0.5)
        info = await log.bus.jetstream().consumer_info(log.service, "counters-dig")
    assert (info.num_ack_pending, info.delivered.consumer_seq if info.delivered else 0) == (1, 2)
