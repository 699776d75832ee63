"""Workers on a real JetStream consumer: no event is dropped, none is worked on twice at once, none is forgotten."""

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

from libs import working
from libs.cloudevents import hint_subject
from libs.connections import Document
from libs.deciding import Recorded
from libs.messaging import settled
from libs.migration import place_consumer
from libs.service import Context, TryLater, Worker
from libs.settings import Settings
from libs.working import Crew
from tests.support import eventually, stored
from tests.support.log import Log, new_log
from tests.toy.counters import CounterClosed, CounterOpened, CounterRaised

Work = Callable[[Recorded[Any]], Awaitable[None]]


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Log:
    return await new_log(settings, mongo_client, bus)


async def nothing(_context: Context, _recorded: Recorded[Any]) -> None:
    """The crew is told separately what to do."""


@dataclass
class Yard:
    """One worker, on as many replicas as a test hires crews."""

    log: Log
    settings: Settings
    worker: Worker
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def crew(
        self, work: Work, *, grace: float = 8.0, handled: Mapping[str, datetime] | None = None
    ) -> AsyncIterator[Crew]:
        async def tracked(recorded: Recorded[Any]) -> None:
            self.begun.append(recorded.id)
            await work(recorded)
            self.done.append(recorded.id)

        crew = Crew(self.settings, "toy", handled, grace=grace)
        crew.hire(self.worker, tracked)
        await crew.start(self.log.bus)
        try:
            yield crew
        finally:
            await crew.stop()

    async def unacknowledged(self) -> int:
        info = await self.log.bus.jetstream().consumer_info(self.worker.source, f"toy-{self.worker.name}")
        return int(info.num_ack_pending or 0) + int(info.num_pending or 0)

    async def is_all_done(self) -> bool:
        return await self.unacknowledged() == 0


@pytest.fixture
async def yard(log: Log, settings: Settings) -> Yard:
    worker = Worker("dig", log.service, (CounterRaised, CounterClosed), nothing, concurrency=3, patience=1.0)
    await place_consumer("toy", worker, log.bus)
    return Yard(log, settings, worker)


async def at_once(_recorded: Recorded[Any]) -> None:
    """Work that is over immediately."""


async def test_a_worker_gets_the_events_it_asked_for_and_no_others(log: Log, yard: Yard) -> None:
    await log.add(1, streams=1, events=[CounterOpened(label="a", owner=""), CounterRaised(by=1)])
    await log.add(1, streams=1, start=1, events=[CounterClosed(label="a")])
    await log.publish()
    async with yard.crew(at_once):
        await eventually(yard.is_all_done)
    assert sorted(yard.done) == ["counter-0@1.1", "counter-0@2.0"]


async def test_work_that_fails_is_tried_again_and_not_dropped(log: Log, yard: Yard) -> None:
    async def fail_twice(recorded: Recorded[Any]) -> None:
        if yard.begun.count(recorded.id) < 3:
            raise ValueError("not yet")

    await log.add(3)
    await log.publish()
    async with yard.crew(fail_twice):
        await eventually(yard.is_all_done)
    assert Counter(yard.begun) == dict.fromkeys(await log.event_ids(), 3)
    assert sorted(yard.done) == await log.event_ids()


async def test_work_may_ask_to_be_called_later(log: Log, yard: Yard) -> None:
    async def later(recorded: Recorded[Any]) -> None:
        if yard.begun.count(recorded.id) == 1:
            raise TryLater(0.05)

    await log.add(1)
    await log.publish()
    async with yard.crew(later):
        await eventually(yard.is_all_done)
    assert (len(yard.begun), len(yard.done)) == (2, 1)


async def test_long_work_is_not_given_to_another_replica(log: Log, yard: Yard) -> None:
    finish = asyncio.Event()

    async def long(_recorded: Recorded[Any]) -> None:
        await finish.wait()

    await log.add(1)
    await log.publish()
    async with yard.crew(long), yard.crew(long):
        await eventually(lambda: len(yard.begun) == 1)
        with pytest.raises(TimeoutError):  # well beyond the patience
            await eventually(lambda: len(yard.begun) > 1, within=2.5)
        finish.set()
        await eventually(yard.is_all_done)
    assert len(yard.done) == 1


async def test_no_more_at_once_than_the_worker_allows(log: Log, yard: Yard) -> None:
    busy: list[int] = [0]
    together = asyncio.Barrier(3)

    async def count(_recorded: Recorded[Any]) -> None:
        busy.append(busy[-1] + 1)
        await together.wait()
        busy.append(busy[-1] - 1)

    await log.add(9)
    await log.publish()
    async with yard.crew(count):
        await eventually(yard.is_all_done)
    assert max(busy) == 3


async def test_work_in_hand_is_finished_when_the_process_stops(log: Log, yard: Yard) -> None:
    begun = asyncio.Event()

    async def some_time(_recorded: Recorded[Any]) -> None:
        begun.set()
        await asyncio.sleep(0.3)

    await log.add(1)
    await log.publish()
    async with yard.crew(some_time):
        await begun.wait()
    assert len(yard.done) == 1
    await eventually(yard.is_all_done)


async def test_work_cut_off_by_a_stop_is_taken_over_by_another_replica(log: Log, yard: Yard) -> None:
    async def hang(_recorded: Recorded[Any]) -> None:
        await asyncio.sleep(60)

    await log.add(6)
    await log.publish()
    async with yard.crew(hang, grace=0.1):
        await eventually(lambda: len(yard.begun) == 3)
    assert yard.done == []
    async with yard.crew(at_once):
        await eventually(yard.is_all_done)
    assert sorted(yard.done) == await log.event_ids()


async def test_a_consumer_deleted_under_its_worker_is_reported(log: Log, yard: Yard) -> None:
    async with yard.crew(at_once) as crew:
        assert await crew.missing(log.bus) == []
        await log.bus.jetstream().delete_consumer(log.service, "toy-dig")
        assert await crew.missing(log.bus) == ["toy-dig"]


async def test_what_was_worked_off_before_a_backup_is_not_worked_on_again(log: Log, yard: Yard) -> None:
    await log.add(3)
    await log.publish()
    async with yard.crew(at_once, handled={f"toy-{yard.worker.name}": datetime.now(UTC)}):
        await eventually(yard.is_all_done)
    assert yard.begun == []


async def test_hints_beyond_the_bound_are_left_to_the_consumer(
    log: Log, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "MAX_HINTS", 1)
    worker = Worker("dig", log.service, (CounterRaised,), nothing, concurrency=3, patience=5.0, prompt=True)
    await place_consumer("toy", worker, log.bus)
    yard, finish = Yard(log, settings, worker), asyncio.Event()

    async def wait(_recorded: Recorded[Any]) -> None:
        await finish.wait()

    await log.add(5)
    await log.publish()
    async with yard.crew(wait):
        for message in await stored(log.bus, log.service):
            await log.bus.publish(
                hint_subject(log.service, "counter-1", "CounterRaised"), message.data, headers=message.headers
            )
        await settled(log.bus)
        await eventually(lambda: len(yard.begun) == 1)
        finish.set()
        await eventually(yard.is_all_done)
    assert {*yard.done} == {*await log.event_ids()}
