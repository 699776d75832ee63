"""What every event store promises; the MongoDB store and its in-memory twin pass the same suite."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import Refused
from libs.connections import Document, database_of, mongo, vault_of
from libs.deciding import Cause, Recorded, Release, Take
from libs.eventstore import Commit, Conflict, EventStore, OutcomeUnknown, Repeated, Unavailable
from libs.eventstore.memory import MemoryStore
from libs.eventstore.mongo import MongoStore, prepare_database
from libs.eventstore.streams import Beginning, Handled, Streams
from libs.security.sealing import MasterKeys, MemoryVault, Vault
from libs.settings import Settings
from tests.support import eventually
from tests.support.servers import servers_in
from tests.toy.counters import (
    CloseCounter,
    CounterOpened,
    CounterRaised,
    CounterView,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.toy.decisions import AT, RAISED, cause, decision
from tests.toy.domain import counters


def keyed(fingerprint: str) -> Cause:
    """As it comes with an idempotency key."""
    return cause("same", repeatable=True, fingerprint=fingerprint)


async def prepared(client: AsyncMongoClient[Document], settings: Settings) -> AsyncDatabase[Document]:
    database = database_of(client, settings, "counters")
    await prepare_database(database)
    return database


async def in_memory(_client: AsyncMongoClient[Document], _settings: Settings) -> EventStore:
    return MemoryStore()


async def on_mongo(client: AsyncMongoClient[Document], settings: Settings) -> EventStore:
    return MongoStore(await prepared(client, settings), MemoryVault())


@pytest.fixture
async def database(mongo_client: AsyncMongoClient[Document], settings: Settings) -> AsyncDatabase[Document]:
    return await prepared(mongo_client, settings)


@pytest.fixture(params=[in_memory, on_mongo])
async def store(
    request: pytest.FixtureRequest, mongo_client: AsyncMongoClient[Document], settings: Settings
) -> EventStore:
    opened: EventStore = await request.param(mongo_client, settings)
    return opened


@pytest.fixture
def streams(store: EventStore) -> Streams:
    return Streams(store)


# ---- appending and reading


async def test_what_was_appended_is_read_back_as_it_was(store: EventStore) -> None:
    first = decision(events=(CounterOpened(label="a", owner="Ivan"), RAISED))
    await store.append(first)
    assert await store.read("counter-1") == [
        Recorded("counter-1", 1, 0, CounterOpened(label="a", owner="Ivan"), first.cause),
        Recorded("counter-1", 1, 1, RAISED, first.cause),
    ]


async def test_an_unknown_stream_is_empty(store: EventStore) -> None:
    assert await store.read("counter-1") == []


async def test_a_part_of_a_stream_is_read_by_versions(store: EventStore) -> None:
    for expected in range(5):
        await store.append(decision(expected=expected))
    assert [one.version for one in await store.read("counter-1", after=3)] == [4, 5]
    assert [one.version for one in await store.read("counter-1", until=2)] == [1, 2]
    assert [one.version for one in await store.read("counter-1", after=1, until=3)] == [2, 3]
    assert await store.read("counter-1", after=5) == []


async def test_streams_whose_names_begin_alike_are_kept_apart(store: EventStore) -> None:
    await store.append(decision("counter-1"))
    await store.append(decision("counter-11"))
    assert [one.stream for one in await store.read("counter-1")] == ["counter-1"]


async def test_a_command_is_found_where_it_was_recorded(store: EventStore) -> None:
    await store.append(decision())
    await store.append(decision(expected=1, command_id="second"))
    assert await store.find("second") == Commit("counter-1", 2)
    assert await store.find("third") is None


@pytest.mark.parametrize("stale", [0, 2])
async def test_another_version_than_the_streams_is_a_conflict(store: EventStore, stale: int) -> None:
    await store.append(decision())
    with pytest.raises(Conflict):
        await store.append(decision(expected=stale))
    assert len(await store.read("counter-1")) == 1


@pytest.mark.parametrize("expected", [0, 1, 2])
async def test_a_command_is_recorded_once_whatever_version_it_comes_with(store: EventStore, expected: int) -> None:
    await store.append(decision(command_id="same"))
    with pytest.raises(Repeated) as repeated:
        await store.append(decision(expected=expected, command_id="same"))
    assert repeated.value.commit == Commit("counter-1", 1)
    assert len(await store.read("counter-1")) == 1


async def test_a_command_is_recorded_once_also_on_another_stream(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    outcomes = await asyncio.gather(
        store.append(decision("counter-1", command_id="same", claims=take)),
        store.append(decision("counter-2", command_id="same", claims=take)),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [type(None), Repeated]
    assert await store.read("counter-2") == []


# ---- names


async def test_a_name_has_one_owner(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(decision("counter-1", claims=take))
    with pytest.raises(Refused, match="PROJECT_ALIAS_TAKEN"):
        await store.append(decision("counter-2", claims=take))
    assert await store.read("counter-2") == []


async def test_the_owner_may_take_its_name_again(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(decision(claims=take))
    await store.append(decision(expected=1, claims=take))
    with pytest.raises(Refused, match="PROJECT_ALIAS_TAKEN"):
        await store.append(decision("counter-2", claims=take))


async def test_a_released_name_is_free(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(decision("counter-1", claims=take))
    await store.append(decision("counter-1", 1, claims=(Release("label:a"),)))
    await store.append(decision("counter-2", claims=take))
    assert len(await store.read("counter-2")) == 1


async def test_nobody_releases_the_name_of_another(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(decision("counter-1", claims=take))
    await store.append(decision("counter-2", claims=(Release("label:a"),)))
    with pytest.raises(Refused, match="PROJECT_ALIAS_TAKEN"):
        await store.append(decision("counter-3", claims=take))


async def test_a_name_released_and_taken_in_one_decision_is_kept(store: EventStore) -> None:
    take = Take("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(decision("counter-1", claims=(take,)))
    await store.append(decision("counter-1", 1, claims=(Release("label:a"), take)))
    with pytest.raises(Refused, match="PROJECT_ALIAS_TAKEN"):
        await store.append(decision("counter-2", claims=(take,)))


async def test_a_name_taken_and_released_in_one_decision_is_free(store: EventStore) -> None:
    take = Take("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(decision("counter-1", claims=(take, Release("label:a"))))
    await store.append(decision("counter-2", claims=(take,)))
    assert len(await store.read("counter-2")) == 1


async def test_a_decision_that_lost_its_stream_takes_no_name(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(decision("counter-1"))
    with pytest.raises(Conflict):
        await store.append(decision("counter-1", claims=take))
    await store.append(decision("counter-2", claims=take))
    assert len(await store.read("counter-2")) == 1


async def test_of_many_that_want_one_name_at_once_one_gets_it(store: EventStore) -> None:
    take = (Take("label:a", "PROJECT_ALIAS_TAKEN"),)
    wishes = [decision(f"counter-{number}", claims=take) for number in range(20)]
    outcomes = await asyncio.gather(*map(store.append, wishes), return_exceptions=True)
    assert Counter(type(one) for one in outcomes) == {type(None): 1, Refused: 19}


async def test_stale_versions_do_not_disturb_the_others(store: EventStore) -> None:
    await asyncio.gather(*(store.append(decision(f"counter-{number}")) for number in range(50)))
    news = [decision(f"counter-{number}", expected=0 if number % 5 == 0 else 1) for number in range(50)]
    outcomes = await asyncio.gather(*map(store.append, news), return_exceptions=True)
    assert [type(one) for one in outcomes] == [Conflict, *[type(None)] * 4] * 10
    assert [len(await store.read(f"counter-{number}")) for number in range(50)] == [1, 2, 2, 2, 2] * 10


# ---- commands


async def test_decisions_that_belong_together_are_recorded_together(store: EventStore) -> None:
    await store.append(decision("counter-1"), decision("counter-2"))
    assert [len(await store.read(stream)) for stream in ("counter-1", "counter-2")] == [1, 1]


@pytest.mark.parametrize("taken", ["counter-1", "counter-2"])
async def test_of_decisions_that_belong_together_none_is_recorded_alone(store: EventStore, taken: str) -> None:
    await store.append(decision(taken))
    with pytest.raises(Conflict):
        await store.append(decision("counter-1"), decision("counter-2"))
    assert sorted([len(await store.read(stream)) for stream in ("counter-1", "counter-2")]) == [0, 1]


async def test_decisions_that_are_torn_apart_do_not_disturb_the_others(store: EventStore) -> None:
    await store.append(decision("counter-2"))
    others = [store.append(decision(f"counter-{number}"), decision(f"counter-{number}0")) for number in range(3, 9)]
    outcomes = await asyncio.gather(
        *others, store.append(decision("counter-1"), decision("counter-2")), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [*[type(None)] * 6, Conflict]


async def test_a_command_answers_with_the_version_the_row_and_the_news(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    handled = await streams.handle(counters, RaiseCounter(counter_id="1", by=2), cause())
    assert (handled.version, handled.row) == (2, CounterView(label="a", value=2))
    assert [one.event for one in handled.news] == [RAISED, RAISED]


async def test_a_wish_that_is_already_true_records_nothing(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    handled = await streams.handle(counters, RelabelCounter(counter_id="1", label="a"), cause())
    assert (handled.version, handled.news) == (1, ())


async def test_a_command_seen_before_answers_as_before(streams: Streams) -> None:
    first = await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause("first"))
    await streams.handle(counters, RaiseCounter(counter_id="1"), cause())
    expected = Handled(first.stream, first.version, first.row, ())
    assert await streams.seen(counters, cause("first")) == expected
    assert await streams.seen(counters, cause("second")) is None
    again = cause("first", repeatable=True)
    assert await streams.handle(counters, OpenCounter(counter_id="1", label="a"), again) == expected


async def test_the_same_command_many_times_at_once_has_one_effect_and_one_answer(streams: Streams) -> None:
    same = [cause("same", repeatable=True) for _ in range(10)]
    answers = await asyncio.gather(
        *(streams.handle(counters, OpenCounter(counter_id="1", label="a"), one) for one in same)
    )
    assert {(one.version, one.row) for one in answers} == {(1, CounterView(label="a"))}
    assert [len(one.news) for one in answers].count(1) == 1


async def test_a_key_stands_for_one_request(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), keyed("one"))
    assert await streams.seen(counters, keyed("one")) is not None
    with pytest.raises(Refused, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.seen(counters, keyed("other"))
    with pytest.raises(Refused, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.handle(counters, OpenCounter(counter_id="2", label="b"), keyed("other"))


async def test_of_different_requests_that_use_a_key_at_once_one_is_done(store: EventStore, streams: Streams) -> None:
    wishes = [
        streams.handle(counters, OpenCounter(counter_id=str(number), label=str(number)), keyed(str(number)))
        for number in range(10)
    ]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [one.code for one in outcomes if isinstance(one, Refused)]
    assert refusals == ["IDEMPOTENCY_KEY_REUSED"] * 9
    assert sum([len(await store.read(f"counter-{number}")) for number in range(10)]) == 1


async def test_a_request_that_found_its_wish_true_is_remembered_too(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    relabel = RelabelCounter(counter_id="1", label="a")
    first = await streams.handle(counters, relabel, keyed("one"))
    await streams.handle(counters, RelabelCounter(counter_id="1", label="b"), cause())
    assert await streams.seen(counters, keyed("one")) == first
    assert (first.version, first.row) == (1, CounterView(label="a"))
    with pytest.raises(Refused, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.seen(counters, keyed("other"))


async def test_of_different_requests_that_find_their_wish_true_at_once_one_has_the_key(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    relabel = RelabelCounter(counter_id="1", label="a")
    wishes = [streams.handle(counters, relabel, keyed(str(number % 2))) for number in range(6)]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    assert Counter(type(one) for one in outcomes) == {Handled: 3, Refused: 3}


async def test_a_refused_request_leaves_its_key_free(streams: Streams) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    with pytest.raises(Refused, match="PROJECT_ALIAS_TAKEN"):
        await streams.handle(counters, OpenCounter(counter_id="2", label="a"), keyed("one"))
    handled = await streams.handle(counters, OpenCounter(counter_id="2", label="b"), keyed("other"))
    assert handled.row == CounterView(label="b")


async def test_a_kept_state_is_caught_up_before_it_refuses(store: EventStore) -> None:
    here, elsewhere = Streams(store), Streams(store)
    await here.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    await elsewhere.handle(counters, RelabelCounter(counter_id="1", label="b"), cause())
    handled = await here.handle(counters, RelabelCounter(counter_id="1", label="a"), cause())
    assert (handled.version, handled.row) == (3, CounterView(label="a"))
    await elsewhere.handle(counters, CloseCounter(counter_id="1"), cause())
    with pytest.raises(Refused, match="BUILD_STATUS"):
        await here.handle(counters, RaiseCounter(counter_id="1"), cause())


class ReadsCounted(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[Recorded[Any]]:
        self.reads.append(stream)
        return await super().read(stream, after=after, until=until)


async def test_folded_streams_are_cached_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.eventstore.streams.MAX_CACHE_BYTES", 100_000)
    store = ReadsCounted()
    streams = Streams(store)

    async def read_again(*ids: str) -> list[str]:
        store.reads.clear()
        for counter_id in ids:
            await streams.handle(counters, RaiseCounter(counter_id=counter_id), cause())
        return store.reads

    await streams.handle(counters, OpenCounter(counter_id="small", label="x"), cause())
    await streams.handle(counters, OpenCounter(counter_id="huge", label="x" * 60_000), cause())
    assert await read_again("small", "small", "huge", "huge") == ["counter-huge", "counter-huge"]
    for number in range(3):  # room for two of them
        await streams.handle(counters, OpenCounter(counter_id=f"{number}", label=f"{number}" * 20_000), cause())
    assert await read_again("2", "1", "small", "0") == ["counter-small", "counter-0"]


async def test_time_never_goes_back_within_a_stream(streams: Streams, store: EventStore) -> None:
    slow_clock = cause().but(at=AT - timedelta(seconds=5))
    await streams.handle(counters, RaiseCounter(counter_id="1"), cause())
    await streams.handle(counters, RaiseCounter(counter_id="1"), slow_clock)
    assert [one.at for one in await store.read("counter-1")] == [AT, AT]


# ---- several processes on one database


def beginning(news: Sequence[Recorded[Any]]) -> Sequence[Beginning]:
    """With each counter another one begins."""
    opened = [one for one in news if isinstance(one.event, CounterOpened)]
    return [(counters, OpenCounter(counter_id="next"), cause(f"after {one.id}")) for one in opened]


async def test_what_begins_with_a_decision_is_recorded_with_it(streams: Streams, store: EventStore) -> None:
    handled = await streams.handle(counters, OpenCounter(counter_id="1"), cause(), beginning)
    assert [one.stream for one in handled.news] == ["counter-1", "counter-next"]
    assert [one.cause.command_id for one in await store.read("counter-next")] == ["after counter-1@1.0"]


async def test_what_has_begun_already_holds_up_no_decision(streams: Streams, store: EventStore) -> None:
    await store.append(decision("counter-next"))
    handled = await streams.handle(counters, OpenCounter(counter_id="1"), cause(), beginning)
    assert [one.stream for one in handled.news] == ["counter-1"]


async def test_two_processes_record_the_same_command_once(database: AsyncDatabase[Document]) -> None:
    processes = [Streams(MongoStore(database, MemoryVault())) for _ in range(2)]
    same = cause("same", repeatable=True)
    wishes = [one.handle(counters, OpenCounter(counter_id="1", label="a"), same) for one in processes * 5]
    answers = await asyncio.gather(*wishes)
    assert {(one.version, one.row) for one in answers} == {(1, CounterView(label="a"))}
    assert await database["commits"].count_documents({}) == 1


async def test_two_processes_that_race_for_names_give_each_to_one(database: AsyncDatabase[Document]) -> None:
    processes = [MongoStore(database, MemoryVault()) for _ in range(2)]
    wishes = [
        store.append(decision(f"counter-{place}-{name}", claims=(Take(f"label:{name}", "PROJECT_ALIAS_TAKEN"),)))
        for name in range(10)
        for place, store in enumerate(processes)
    ]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    assert Counter(type(one) for one in outcomes) == {type(None): 10, Refused: 10}
    owners = [claim["stream"] async for claim in database["claims"].find({})]
    assert sorted(owners) == sorted(await database["commits"].distinct("stream"))


async def test_many_writers_lose_nothing_and_record_nothing_twice(database: AsyncDatabase[Document]) -> None:
    acknowledged: list[str] = []

    async def write(streams: Streams, writer: int) -> None:
        for number in range(12):
            one = cause()
            await streams.handle(counters, RaiseCounter(counter_id=str((writer + number) % 5)), one)
            acknowledged.append(one.command_id)

    processes = [Streams(MongoStore(database, MemoryVault())) for _ in range(2)]
    await asyncio.gather(*(write(streams, writer) for streams in processes for writer in range(32)))
    commits = [(one["stream"], one["version"], one["_id"]) async for one in database["commits"].find({})]
    heads = {one["_id"]: (one["version"], one["counter_v1"]["value"]) async for one in database["streams"].find({})}
    lengths = Counter(stream for stream, _, _ in commits)
    assert sorted(command for _, _, command in commits) == sorted(acknowledged)
    assert {(stream, version) for stream, version, _ in commits} == {
        (stream, version) for stream, length in lengths.items() for version in range(1, length + 1)
    }
    assert heads == {stream: (length, length) for stream, length in lengths.items()}


# ---- trouble


@pytest.fixture
def half_open_sockets() -> Iterator[None]:
    """The driver leaves a socket to the garbage collector when the server dies while it connects."""
    yield
    gc.collect()


dies = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


async def test_a_value_that_cannot_be_stored_harms_only_its_own_command(database: AsyncDatabase[Document]) -> None:
    store = MongoStore(database, MemoryVault())
    wishes = [
        decision("counter-1"),
        decision("counter-2", events=(CounterRaised(by=2**70),)),
        decision("counter-3"),
    ]
    outcomes = await asyncio.gather(*map(store.append, wishes), return_exceptions=True)
    assert [type(one) for one in outcomes] == [type(None), OverflowError, type(None)]


async def test_a_stream_locked_by_another_process_holds_up_no_other(database: AsyncDatabase[Document]) -> None:
    store = MongoStore(database, MemoryVault())
    await asyncio.gather(*(store.append(decision(f"counter-{number}")) for number in range(3)))
    async with database.client.start_session() as session:
        async with await session.start_transaction():
            await database["streams"].update_one(
                {"_id": "counter-0"}, {"$set": {"version": 1, "x": 1}}, session=session
            )
            locked = asyncio.create_task(store.append(decision("counter-0", 1)))
            async with asyncio.timeout(5):
                await asyncio.gather(*(store.append(decision(f"counter-{number}", 1)) for number in (1, 2)))
                await store.append(decision("counter-1", 2))
            assert not locked.done()
        await locked
    assert len(await store.read("counter-0")) == 2


async def test_a_caller_that_gives_up_does_not_stop_the_others(database: AsyncDatabase[Document]) -> None:
    store = MongoStore(database, MemoryVault())
    impatient = asyncio.create_task(store.append(decision("counter-1")))
    patient = asyncio.create_task(store.append(decision("counter-2")))
    await asyncio.wait({impatient}, timeout=0)
    impatient.cancel()
    await patient
    await store.drain()
    assert await database["commits"].count_documents({}) == 2


async def test_personal_fields_lie_sealed_and_come_back_opened(
    database: AsyncDatabase[Document], settings: Settings
) -> None:
    store = MongoStore(database, vault_of(database, settings))
    await store.append(decision(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    document = await database["commits"].find_one({})
    assert document is not None
    assert document["events"][0]["data"]["label"] == "a"
    assert document["events"][0]["data"]["owner"].startswith("s1.")
    assert "Ivan Petrov" not in str(document)
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="Ivan Petrov")


async def test_after_the_erasure_personal_fields_read_as_empty(
    database: AsyncDatabase[Document], settings: Settings
) -> None:
    vault = vault_of(database, settings)
    store = MongoStore(database, vault)
    await store.append(decision(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    await vault.erase("counter-1")
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="")


@dies
@pytest.mark.usefixtures("half_open_sockets")
async def test_a_killed_database_loses_no_acknowledged_append(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    failures: list[BaseException] = []

    async def write(streams: Streams, writer: int) -> None:
        while len(acknowledged) < 900:
            one = cause()
            try:
                await streams.handle(counters, RaiseCounter(counter_id=str(writer)), one)
                acknowledged.append(one.command_id)
            except (Unavailable, OutcomeUnknown) as failure:
                failures.append(failure)

    async def crash(servers: Any) -> None:
        await eventually(lambda: len(acknowledged) >= 300)
        await asyncio.to_thread(servers.mongod.kill)
        await asyncio.to_thread(servers.mongod.start)

    with servers_in(tmp_path) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with mongo(settings, "test") as client, asyncio.timeout(40), asyncio.TaskGroup() as group:
            database = database_of(client, settings, "counters")
            await prepare_database(database)
            streams = Streams(MongoStore(database, MemoryVault()))
            group.create_task(crash(servers))
            writers = [group.create_task(write(streams, writer)) for writer in range(16)]
            await asyncio.wait(writers)
            commits = [one["_id"] async for one in database["commits"].find({})]
    assert set(acknowledged) <= set(commits)
    assert len(commits) == len(set(commits))
    assert len(commits) - len(acknowledged) <= len(failures)


@dies
@pytest.mark.usefixtures("half_open_sockets")
async def test_a_database_that_stays_away_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.eventstore.committer.PATIENCE", 1.0)
    with servers_in(tmp_path) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with mongo(settings, "test") as client:
            database = database_of(client, settings, "counters")
            await prepare_database(database)
            store = MongoStore(database, Vault(database, MasterKeys.of([bytes(32)])))
            await store.append(decision())
            servers.mongod.kill()
            async with asyncio.timeout(10):
                with pytest.raises(Unavailable):
                    await store.append(decision(expected=1))
                with pytest.raises(Unavailable):
                    await store.read("counter-1")
