"""Followers of a real JetStream stream: in order, each event applied once, whatever dies or fails meanwhile."""

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
from nats.aio.msg import Msg
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import AutoReconnect

from contracts.errors import Refused
from libs.cloudevents import Delivered
from libs.connections import Document, mongo
from libs.ending import end
from libs.eventstore import Unavailable
from libs.following import Follower, Overtaken
from libs.handled import HANDLED
from libs.messaging import connect
from libs.settings import Settings
from tests.support import eventually
from tests.support.log import Log, new_log
from tests.support.servers import Servers, servers_in
from tests.toy.counters import CounterRaised

POISON = CounterRaised(by=-1)


class Broken(Exception):
    """What a handler with a defect raises."""


@dataclass
class Ledger:
    """A view that would show every event applied twice, left out or out of order."""

    log: Log
    stopped: list[tuple[str, bool, int]] = field(default_factory=list)
    heals: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception = field(default_factory=Broken)  # of the poison

    async def apply(self, batch: Sequence[Delivered], session: AsyncClientSession | None) -> None:
        for delivered in batch:
            if delivered.recorded.event == POISON and not self.heals.is_set():
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

    def follower(self, *, transaction: bool = True) -> Follower:
        return Follower(
            self.log.bus,
            self.log.database,
            "ledger",
            self.log.service,
            self.apply,
            transaction=transaction,
            reset=self.reset,
            on_state=self.on_state,
        )

    @asynccontextmanager
    async def kept(self) -> AsyncIterator["asyncio.Task[None]"]:
        """A follower that runs as long as the block; it is cut off without a goodbye."""
        task = asyncio.create_task(self.follower().run())
        try:
            yield task
        finally:
            await end([task])
            await asyncio.gather(task, return_exceptions=True)

    async def ids(self) -> dict[str, list[str]]:
        return {one["_id"]: one["ids"] async for one in self.log.database["ledger"].find({})}

    async def count(self) -> int:
        return sum(len(ids) for ids in (await self.ids()).values())

    async def holds(self, count: int) -> bool:
        return await self.count() >= count

    async def is_complete(self) -> bool:
        return await self.ids() == await self.log.by_stream()


@pytest.fixture
async def log(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Log:
    return await new_log(settings, mongo_client, bus)


@pytest.fixture
def ledger(log: Log) -> Ledger:
    return Ledger(log)


async def test_all_events_are_applied_in_order(log: Log, ledger: Ledger) -> None:
    await log.add(120)
    async with log.relayed(), ledger.kept():
        await log.add(60, start=120)
        await eventually(ledger.is_complete)
    assert ledger.stopped[-1] == ("ledger", False, 0)


async def test_without_a_transaction_all_events_are_applied_too(log: Log, ledger: Ledger) -> None:
    await log.add(60)
    await log.publish()
    task = asyncio.create_task(ledger.follower(transaction=False).run())
    await eventually(ledger.is_complete)
    await end([task])


async def test_events_that_come_one_by_one_are_not_asked_for_one_by_one(log: Log, ledger: Ledger) -> None:
    asked: list[Msg] = []

    async def note(message: Msg) -> None:
        asked.append(message)

    listening = await log.bus.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{log.service}.*", cb=note)
    async with log.relayed(), ledger.kept():
        for number in range(20):
            await log.add(1, streams=1, start=number)
            await eventually(partial(ledger.holds, number + 1))
    await listening.unsubscribe()
    assert 1 <= len(asked) < 10


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_follower_cut_off_again_and_again_applies_each_event_once(log: Log, ledger: Ledger, seed: int) -> None:
    moments = random.Random(seed)  # noqa: S311
    await log.add(300)
    await log.publish()
    for _ in range(6):
        async with ledger.kept():
            await eventually(partial(ledger.holds, min(await ledger.count() + moments.randrange(1, 60), 300)))
    async with ledger.kept():
        await eventually(partial(ledger.holds, 300))
    assert await ledger.is_complete()


async def test_a_second_follower_of_the_same_name_is_turned_away(log: Log, ledger: Ledger) -> None:
    async with ledger.kept() as one, ledger.kept() as other, log.relayed():
        await log.add(60)
        done, _ = await asyncio.wait({one, other}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in done] == [Overtaken]
        await eventually(ledger.is_complete)


@pytest.mark.parametrize(
    ("fault", "level"),
    [
        (Broken(), "ERROR"),
        (Refused("INTERNAL_SERVER_ERROR"), "ERROR"),
        (Refused("SERVICE_UNAVAILABLE"), "WARNING"),
        (AutoReconnect(), "WARNING"),
        (Unavailable(), "WARNING"),
    ],
)
async def test_only_a_defect_is_an_error_in_the_log(
    log: Log, ledger: Ledger, caplog: pytest.LogCaptureFixture, fault: Exception, level: str
) -> None:
    ledger.fault = fault
    await log.add(1, events=[POISON])
    await log.publish()
    async with ledger.kept():
        await eventually(lambda: ("ledger", True, 1) in ledger.stopped)
    assert {record.levelname for record in caplog.records if "before event" in record.getMessage()} == {level}


async def test_a_poison_event_stops_its_follower_until_it_is_healed(log: Log, ledger: Ledger) -> None:
    await log.add(10, streams=1)
    await log.add(1, streams=1, start=10, events=[POISON])
    await log.add(10, streams=1, start=11)
    await log.publish()
    async with ledger.kept():
        await eventually(lambda: ("ledger", True, 11) in ledger.stopped)
        assert await ledger.count() == 10
        ledger.heals.set()
        await eventually(ledger.is_complete)
    assert ledger.stopped[-1] == ("ledger", False, 0)


async def test_a_message_that_is_no_event_stops_the_follower_too(log: Log, ledger: Ledger) -> None:
    await log.bus.jetstream().publish(f"evt.{log.service}.x.Strange", b"{}", headers={"ce-id": "x@1.0"})
    async with ledger.kept() as task:
        await eventually(lambda: ("ledger", True, 1) in ledger.stopped)
        assert not task.done()


async def test_a_follower_starts_anew_when_the_stream_was_purged_and_filled_again(log: Log, ledger: Ledger) -> None:
    await log.add(30)
    await log.publish()
    async with ledger.kept():
        await eventually(ledger.is_complete)
    await log.bus.jetstream().purge_stream(log.service)
    await log.add(30, start=30)
    async with ledger.kept(), log.relayed():
        await eventually(ledger.is_complete)


async def test_a_running_follower_starts_anew_when_the_stream_is_purged_under_it(log: Log, ledger: Ledger) -> None:
    await log.add(30)
    await log.publish()
    async with ledger.kept():
        await eventually(ledger.is_complete)
        await log.bus.jetstream().purge_stream(log.service)
        await log.add(30, start=30)
        async with log.relayed():
            await eventually(ledger.is_complete)


async def test_a_follower_goes_on_when_the_server_has_forgotten_its_consumer(log: Log, ledger: Ledger) -> None:
    async with log.relayed(), ledger.kept():
        await log.add(10)
        await eventually(ledger.is_complete)
        [consumer] = await log.bus.jetstream().consumers_info(log.service)
        await log.bus.jetstream().delete_consumer(log.service, consumer.name)
        await log.add(10, start=10)
        await eventually(ledger.is_complete)


async def test_a_position_that_is_being_rebuilt_is_left_alone(
    log: Log, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.following.LONGEST_PAUSE", 0.1)
    await log.add(3)
    await log.publish()
    followers = log.database["followers"]
    await followers.insert_one({"_id": "ledger", "incarnation": "rebuilding", "sequence": 0, "event_id": ""})
    async with ledger.kept() as task:
        await eventually(lambda: ("ledger", True, 0) in ledger.stopped)
        assert not task.done()
        assert await ledger.count() == 0
        await followers.delete_one({"_id": "ledger"})
        await eventually(ledger.is_complete)


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[Servers]:
    with servers_in(tmp_path) as servers:
        yield servers


async def test_a_follower_goes_on_when_the_message_server_was_killed(own_servers: Servers) -> None:
    settings = Settings(mongodb_url=own_servers.mongodb_url, nats_url=own_servers.nats_url)
    async with mongo(settings, "test") as client:
        bus = await connect(settings, "test")
        log = await new_log(settings, client, bus)
        ledger = Ledger(log)
        await log.add(30)
        await log.publish()
        async with ledger.kept():
            await eventually(ledger.is_complete)
            await asyncio.to_thread(own_servers.nats.kill)
            own_servers.nats.start()
            await asyncio.to_thread(own_servers.nats.wait_ready)
            await eventually(lambda: bus.is_connected)
            await log.add(30, start=30)
            await log.publish()
            await eventually(ledger.is_complete, within=20)
        await bus.close()


async def test_what_was_handled_before_a_backup_is_left_out_also_after_a_new_start(log: Log, ledger: Ledger) -> None:
    await log.add(6)
    [newest] = [one["at"] async for one in log.database["commits"].find({}).sort("at", -1).limit(1)]
    before = newest + timedelta(milliseconds=1)
    await log.database[HANDLED].insert_one({"_id": "ledger", "before": before})
    await eventually(lambda: datetime.now(UTC) > before)
    await log.add(6, start=6)
    await log.publish()
    for _ in range(2):
        async with ledger.kept():
            await eventually(partial(ledger.holds, 6))
    later = {
        stream: [one for one in ids if int(one.split("@")[1][0]) > 2] for stream, ids in (await log.by_stream()).items()
    }
    assert await ledger.ids() == later
