"""The contract of every event store, run against the MongoDB store and the in-memory store."""

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

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore import (
    CommitRef,
    DuplicateCommand,
    EventStore,
    OutcomeUnknown,
    StoreUnavailable,
    WrongExpectedVersion,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent, Release, Reserve
from libs.eventstore.memory import MemoryEventStore
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.eventstore.repository import CommandHandler, CommandResult, FollowUp
from libs.security.envelope_encryption import KeyVault, MasterKeys, MemoryKeyVault
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.settings import Settings
from tests.support.counters.counters import (
    CloseCounter,
    CounterOpened,
    CounterRaised,
    CounterView,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.support.counters.decisions import RAISED, RECORDED_AT, make_commit, make_metadata
from tests.support.counters.domain import counters
from tests.support.infrastructure.servers import running_servers
from tests.support.waiting import eventually


def keyed(fingerprint: str) -> CommandMetadata:
    """Return the metadata of a command with an idempotency key."""
    return make_metadata("same", repeatable=True, fingerprint=fingerprint)


async def prepared(client: AsyncMongoClient[Document], settings: Settings) -> AsyncDatabase[Document]:
    database = get_database(client, settings, "counters")
    await create_schema(database)
    return database


async def in_memory(_client: AsyncMongoClient[Document], _settings: Settings) -> EventStore:
    return MemoryEventStore()


async def on_mongo(client: AsyncMongoClient[Document], settings: Settings) -> EventStore:
    return MongoEventStore(await prepared(client, settings), MemoryKeyVault())


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
def streams(store: EventStore) -> CommandHandler:
    return CommandHandler(store)


# ---- appending and reading


async def test_appended_events_are_read_back_unchanged(store: EventStore) -> None:
    first = make_commit(events=(CounterOpened(label="a", owner="Ivan"), RAISED))
    await store.append(first)
    assert await store.read("counter-1") == [
        RecordedEvent("counter-1", 1, 0, CounterOpened(label="a", owner="Ivan"), first.metadata),
        RecordedEvent("counter-1", 1, 1, RAISED, first.metadata),
    ]


async def test_an_unknown_stream_is_empty(store: EventStore) -> None:
    assert await store.read("counter-1") == []


async def test_a_range_of_versions_can_be_read(store: EventStore) -> None:
    for expected in range(5):
        await store.append(make_commit(expected=expected))
    assert [recorded.version for recorded in await store.read("counter-1", after=3)] == [4, 5]
    assert [recorded.version for recorded in await store.read("counter-1", until=2)] == [1, 2]
    assert [recorded.version for recorded in await store.read("counter-1", after=1, until=3)] == [2, 3]
    assert await store.read("counter-1", after=5) == []


async def test_streams_with_a_common_name_prefix_are_kept_apart(store: EventStore) -> None:
    await store.append(make_commit("counter-1"))
    await store.append(make_commit("counter-11"))
    assert [recorded.stream for recorded in await store.read("counter-1")] == ["counter-1"]


async def test_a_recorded_command_is_found(store: EventStore) -> None:
    await store.append(make_commit())
    await store.append(make_commit(expected=1, command_id="second"))
    assert await store.find("second") == CommitRef("counter-1", 2)
    assert await store.find("third") is None


@pytest.mark.parametrize("stale", [0, 2])
async def test_a_wrong_expected_version_is_a_conflict(store: EventStore, stale: int) -> None:
    await store.append(make_commit())
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit(expected=stale))
    assert len(await store.read("counter-1")) == 1


@pytest.mark.parametrize("expected", [0, 1, 2])
async def test_a_repeated_command_is_recorded_once_whatever_version_it_expects(
    store: EventStore, expected: int
) -> None:
    await store.append(make_commit(command_id="same"))
    with pytest.raises(DuplicateCommand) as repeated:
        await store.append(make_commit(expected=expected, command_id="same"))
    assert repeated.value.commit == CommitRef("counter-1", 1)
    assert len(await store.read("counter-1")) == 1


async def test_a_repeated_command_is_recorded_once_even_on_another_stream(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    outcomes = await asyncio.gather(
        store.append(make_commit("counter-1", command_id="same", claims=take)),
        store.append(make_commit("counter-2", command_id="same", claims=take)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), DuplicateCommand]
    assert await store.read("counter-2") == []


# ---- reservations


async def test_a_reservation_has_one_owner(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=take))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=take))
    assert await store.read("counter-2") == []


async def test_the_owner_may_repeat_its_reservation(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit(claims=take))
    await store.append(make_commit(expected=1, claims=take))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=take))


async def test_a_released_reservation_is_free(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=take))
    await store.append(make_commit("counter-1", 1, claims=(Release("label:a"),)))
    await store.append(make_commit("counter-2", claims=take))
    assert len(await store.read("counter-2")) == 1


async def test_a_reservation_of_another_stream_cannot_be_released(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=take))
    await store.append(make_commit("counter-2", claims=(Release("label:a"),)))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-3", claims=take))


async def test_a_name_released_and_reserved_in_one_commit_is_kept(store: EventStore) -> None:
    take = Reserve("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(make_commit("counter-1", claims=(take,)))
    await store.append(make_commit("counter-1", 1, claims=(Release("label:a"), take)))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=(take,)))


async def test_a_name_reserved_and_released_in_one_commit_is_free(store: EventStore) -> None:
    take = Reserve("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(make_commit("counter-1", claims=(take, Release("label:a"))))
    await store.append(make_commit("counter-2", claims=(take,)))
    assert len(await store.read("counter-2")) == 1


async def test_a_commit_with_a_wrong_version_reserves_no_name(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1"))
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit("counter-1", claims=take))
    await store.append(make_commit("counter-2", claims=take))
    assert len(await store.read("counter-2")) == 1


async def test_only_one_of_many_concurrent_reservations_succeeds(store: EventStore) -> None:
    take = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    wishes = [make_commit(f"counter-{number}", claims=take) for number in range(20)]
    outcomes = await asyncio.gather(*map(store.append, wishes), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 1, RequestRejected: 19}


async def test_conflicting_commits_do_not_affect_others_in_the_batch(store: EventStore) -> None:
    await asyncio.gather(*(store.append(make_commit(f"counter-{number}")) for number in range(50)))
    news = [make_commit(f"counter-{number}", expected=0 if number % 5 == 0 else 1) for number in range(50)]
    outcomes = await asyncio.gather(*map(store.append, news), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WrongExpectedVersion, *[type(None)] * 4] * 10
    assert [len(await store.read(f"counter-{number}")) for number in range(50)] == [1, 2, 2, 2, 2] * 10


# ---- commands


async def test_commits_appended_together_are_recorded_together(store: EventStore) -> None:
    await store.append(make_commit("counter-1"), make_commit("counter-2"))
    assert [len(await store.read(stream)) for stream in ("counter-1", "counter-2")] == [1, 1]


@pytest.mark.parametrize("taken", ["counter-1", "counter-2"])
async def test_commits_appended_together_fail_together(store: EventStore, taken: str) -> None:
    await store.append(make_commit(taken))
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit("counter-1"), make_commit("counter-2"))
    assert sorted([len(await store.read(stream)) for stream in ("counter-1", "counter-2")]) == [0, 1]


async def test_a_partial_conflict_does_not_affect_other_commits(store: EventStore) -> None:
    await store.append(make_commit("counter-2"))
    others = [
        store.append(make_commit(f"counter-{number}"), make_commit(f"counter-{number}0")) for number in range(3, 9)
    ]
    outcomes = await asyncio.gather(
        *others, store.append(make_commit("counter-1"), make_commit("counter-2")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [*[type(None)] * 6, WrongExpectedVersion]


async def test_a_command_returns_version_row_and_new_events(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    handled = await streams.handle(counters, RaiseCounter(counter_id="1", by=2), make_metadata())
    assert (handled.version, handled.row) == (2, CounterView(label="a", value=2))
    assert [recorded.event for recorded in handled.new_events] == [RAISED, RAISED]


async def test_a_command_without_effect_records_no_event(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    handled = await streams.handle(counters, RelabelCounter(counter_id="1", label="a"), make_metadata())
    assert (handled.version, handled.new_events) == (1, ())


async def test_a_repeated_command_returns_its_first_result(streams: CommandHandler) -> None:
    first = await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata("first"))
    await streams.handle(counters, RaiseCounter(counter_id="1"), make_metadata())
    expected = CommandResult(first.stream, first.version, first.row, ())
    assert await streams.find_result(counters, make_metadata("first")) == expected
    assert await streams.find_result(counters, make_metadata("second")) is None
    again = make_metadata("first", repeatable=True)
    assert await streams.handle(counters, OpenCounter(counter_id="1", label="a"), again) == expected


async def test_concurrent_repeats_of_a_command_have_one_effect_and_one_result(streams: CommandHandler) -> None:
    same = [make_metadata("same", repeatable=True) for _ in range(10)]
    responses = await asyncio.gather(
        *(streams.handle(counters, OpenCounter(counter_id="1", label="a"), metadata) for metadata in same)
    )
    assert {(result.version, result.row) for result in responses} == {(1, CounterView(label="a"))}
    assert [len(result.new_events) for result in responses].count(1) == 1


async def test_an_idempotency_key_belongs_to_one_request(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), keyed("one"))
    assert await streams.find_result(counters, keyed("one")) is not None
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.find_result(counters, keyed("other"))
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.handle(counters, OpenCounter(counter_id="2", label="b"), keyed("other"))


async def test_only_one_of_many_concurrent_requests_with_one_key_succeeds(
    store: EventStore, streams: CommandHandler
) -> None:
    wishes = [
        streams.handle(counters, OpenCounter(counter_id=str(number), label=str(number)), keyed(str(number)))
        for number in range(10)
    ]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)]
    assert refusals == ["IDEMPOTENCY_KEY_REUSED"] * 9
    assert sum([len(await store.read(f"counter-{number}")) for number in range(10)]) == 1


async def test_the_key_of_a_request_without_effect_is_remembered(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    relabel = RelabelCounter(counter_id="1", label="a")
    first = await streams.handle(counters, relabel, keyed("one"))
    await streams.handle(counters, RelabelCounter(counter_id="1", label="b"), make_metadata())
    assert await streams.find_result(counters, keyed("one")) == first
    assert (first.version, first.row) == (1, CounterView(label="a"))
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await streams.find_result(counters, keyed("other"))


async def test_concurrent_requests_without_effect_share_no_key(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    relabel = RelabelCounter(counter_id="1", label="a")
    wishes = [streams.handle(counters, relabel, keyed(str(number % 2))) for number in range(6)]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {CommandResult: 3, RequestRejected: 3}


async def test_a_rejected_request_leaves_its_key_free(streams: CommandHandler) -> None:
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await streams.handle(counters, OpenCounter(counter_id="2", label="a"), keyed("one"))
    handled = await streams.handle(counters, OpenCounter(counter_id="2", label="b"), keyed("other"))
    assert handled.row == CounterView(label="b")


async def test_a_cached_state_is_refreshed_before_a_command_is_rejected(store: EventStore) -> None:
    here, elsewhere = CommandHandler(store), CommandHandler(store)
    await here.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    await elsewhere.handle(counters, RelabelCounter(counter_id="1", label="b"), make_metadata())
    handled = await here.handle(counters, RelabelCounter(counter_id="1", label="a"), make_metadata())
    assert (handled.version, handled.row) == (3, CounterView(label="a"))
    await elsewhere.handle(counters, CloseCounter(counter_id="1"), make_metadata())
    with pytest.raises(RequestRejected, match="BUILD_STATUS"):
        await here.handle(counters, RaiseCounter(counter_id="1"), make_metadata())


class ReadsCounted(MemoryEventStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[RecordedEvent[Any]]:
        self.reads.append(stream)
        return await super().read(stream, after=after, until=until)


async def test_loaded_streams_are_cached_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.eventstore.repository.MAX_CACHE_BYTES", 100_000)
    store = ReadsCounted()
    streams = CommandHandler(store)

    async def read_again(*ids: str) -> list[str]:
        store.reads.clear()
        for counter_id in ids:
            await streams.handle(counters, RaiseCounter(counter_id=counter_id), make_metadata())
        return store.reads

    await streams.handle(counters, OpenCounter(counter_id="small", label="x"), make_metadata())
    await streams.handle(counters, OpenCounter(counter_id="huge", label="x" * 60_000), make_metadata())
    assert await read_again("small", "small", "huge", "huge") == ["counter-huge", "counter-huge"]
    for number in range(3):  # the cache has room for two of them
        await streams.handle(counters, OpenCounter(counter_id=f"{number}", label=f"{number}" * 20_000), make_metadata())
    assert await read_again("2", "1", "small", "0") == ["counter-small", "counter-0"]


async def test_event_times_never_decrease_within_a_stream(streams: CommandHandler, store: EventStore) -> None:
    slow_clock = make_metadata().replace(at=RECORDED_AT - timedelta(seconds=5))
    await streams.handle(counters, RaiseCounter(counter_id="1"), make_metadata())
    await streams.handle(counters, RaiseCounter(counter_id="1"), slow_clock)
    assert [recorded.at for recorded in await store.read("counter-1")] == [RECORDED_AT, RECORDED_AT]


# ---- several processes on one database


def beginning(news: Sequence[RecordedEvent[Any]]) -> Sequence[FollowUp]:
    """Start the counter `next` whenever a counter is opened."""
    opened = [recorded for recorded in news if isinstance(recorded.event, CounterOpened)]
    return [(counters, OpenCounter(counter_id="next"), make_metadata(f"after {recorded.id}")) for recorded in opened]


async def test_follow_up_streams_are_recorded_in_the_same_commit(streams: CommandHandler, store: EventStore) -> None:
    handled = await streams.handle(counters, OpenCounter(counter_id="1"), make_metadata(), beginning)
    assert [recorded.stream for recorded in handled.new_events] == ["counter-1", "counter-next"]
    assert [recorded.metadata.command_id for recorded in await store.read("counter-next")] == ["after counter-1@1.0"]


async def test_an_existing_follow_up_stream_does_not_block_the_command(
    streams: CommandHandler, store: EventStore
) -> None:
    await store.append(make_commit("counter-next"))
    handled = await streams.handle(counters, OpenCounter(counter_id="1"), make_metadata(), beginning)
    assert [recorded.stream for recorded in handled.new_events] == ["counter-1"]


async def test_two_processes_record_the_same_command_once(database: AsyncDatabase[Document]) -> None:
    processes = [CommandHandler(MongoEventStore(database, MemoryKeyVault())) for _ in range(2)]
    same = make_metadata("same", repeatable=True)
    wishes = [handler.handle(counters, OpenCounter(counter_id="1", label="a"), same) for handler in processes * 5]
    responses = await asyncio.gather(*wishes)
    assert {(result.version, result.row) for result in responses} == {(1, CounterView(label="a"))}
    assert await database["commits"].count_documents({}) == 1


async def test_two_racing_processes_give_each_name_one_owner(database: AsyncDatabase[Document]) -> None:
    processes = [MongoEventStore(database, MemoryKeyVault()) for _ in range(2)]
    wishes = [
        store.append(make_commit(f"counter-{place}-{name}", claims=(Reserve(f"label:{name}", "PROJECT_ALIAS_TAKEN"),)))
        for name in range(10)
        for place, store in enumerate(processes)
    ]
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 10, RequestRejected: 10}
    owners = [claim["stream"] async for claim in database["claims"].find({})]
    assert sorted(owners) == sorted(await database["commits"].distinct("stream"))


async def test_concurrent_writers_lose_and_duplicate_nothing(database: AsyncDatabase[Document]) -> None:
    acknowledged: list[str] = []

    async def write(streams: CommandHandler, writer: int) -> None:
        for number in range(12):
            one = make_metadata()
            await streams.handle(counters, RaiseCounter(counter_id=str((writer + number) % 5)), one)
            acknowledged.append(one.command_id)

    processes = [CommandHandler(MongoEventStore(database, MemoryKeyVault())) for _ in range(2)]
    await asyncio.gather(*(write(streams, writer) for streams in processes for writer in range(32)))
    commits = [(commit["stream"], commit["version"], commit["_id"]) async for commit in database["commits"].find({})]
    heads = {head["_id"]: (head["version"], head["counter_v1"]["value"]) async for head in database["streams"].find({})}
    lengths = Counter(stream for stream, _, _ in commits)
    assert sorted(command for _, _, command in commits) == sorted(acknowledged)
    assert {(stream, version) for stream, version, _ in commits} == {
        (stream, version) for stream, length in lengths.items() for version in range(1, length + 1)
    }
    assert heads == {stream: (length, length) for stream, length in lengths.items()}


# ---- failures


@pytest.fixture
def half_open_sockets() -> Iterator[None]:
    """Collect the sockets that the driver leaves open when the server dies during a connect."""
    yield
    gc.collect()


dies = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


async def test_a_value_that_cannot_be_stored_fails_only_its_own_command(database: AsyncDatabase[Document]) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    wishes = [
        make_commit("counter-1"),
        make_commit("counter-2", events=(CounterRaised(by=2**70),)),
        make_commit("counter-3"),
    ]
    outcomes = await asyncio.gather(*map(store.append, wishes), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), OverflowError, type(None)]


async def test_a_locked_stream_does_not_block_other_streams(database: AsyncDatabase[Document]) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    await asyncio.gather(*(store.append(make_commit(f"counter-{number}")) for number in range(3)))
    async with database.client.start_session() as session:
        async with await session.start_transaction():
            await database["streams"].update_one(
                {"_id": "counter-0"}, {"$set": {"version": 1, "x": 1}}, session=session
            )
            locked = asyncio.create_task(store.append(make_commit("counter-0", 1)))
            async with asyncio.timeout(5):
                await asyncio.gather(*(store.append(make_commit(f"counter-{number}", 1)) for number in (1, 2)))
                await store.append(make_commit("counter-1", 2))
            assert not locked.done()
        await locked
    assert len(await store.read("counter-0")) == 2


async def test_a_canceled_caller_does_not_affect_other_callers(database: AsyncDatabase[Document]) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    impatient = asyncio.create_task(store.append(make_commit("counter-1")))
    patient = asyncio.create_task(store.append(make_commit("counter-2")))
    await asyncio.wait({impatient}, timeout=0)
    impatient.cancel()
    await patient
    await store.drain()
    assert await database["commits"].count_documents({}) == 2


async def test_personal_fields_are_stored_encrypted_and_read_decrypted(
    database: AsyncDatabase[Document], settings: Settings
) -> None:
    store = MongoEventStore(database, create_vault(database, settings))
    await store.append(make_commit(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    document = await database["commits"].find_one({})
    assert document is not None
    assert document["events"][0]["data"]["label"] == "a"
    assert document["events"][0]["data"]["owner"].startswith("s1.")
    assert "Ivan Petrov" not in str(document)
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="Ivan Petrov")


async def test_shredded_personal_fields_read_as_empty(database: AsyncDatabase[Document], settings: Settings) -> None:
    vault = create_vault(database, settings)
    store = MongoEventStore(database, vault)
    await store.append(make_commit(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    await vault.shred("counter-1")
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="")


@dies
@pytest.mark.usefixtures("half_open_sockets")
async def test_no_acknowledged_append_is_lost_when_the_database_is_killed(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    failures: list[BaseException] = []

    async def write(streams: CommandHandler, writer: int) -> None:
        while len(acknowledged) < 900:
            one = make_metadata()
            try:
                await streams.handle(counters, RaiseCounter(counter_id=str(writer)), one)
                acknowledged.append(one.command_id)
            except (StoreUnavailable, OutcomeUnknown) as failure:
                failures.append(failure)

    async def crash(servers: Any) -> None:
        await eventually(lambda: len(acknowledged) >= 300)
        await asyncio.to_thread(servers.mongod.kill)
        await asyncio.to_thread(servers.mongod.start)

    with running_servers(tmp_path) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with create_mongo_client(settings, "test") as client, asyncio.timeout(40), asyncio.TaskGroup() as group:
            database = get_database(client, settings, "counters")
            await create_schema(database)
            streams = CommandHandler(MongoEventStore(database, MemoryKeyVault()))
            group.create_task(crash(servers))
            writers = [group.create_task(write(streams, writer)) for writer in range(16)]
            await asyncio.wait(writers)
            commits = [commit["_id"] async for commit in database["commits"].find({})]
    assert set(acknowledged) <= set(commits)
    assert len(commits) == len(set(commits))
    assert len(commits) - len(acknowledged) <= len(failures)


@dies
@pytest.mark.usefixtures("half_open_sockets")
async def test_a_database_outage_is_reported_within_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.eventstore.group_commit.TRANSACTION_TIMEOUT_SECONDS", 1.0)
    with running_servers(tmp_path) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with create_mongo_client(settings, "test") as client:
            database = get_database(client, settings, "counters")
            await create_schema(database)
            store = MongoEventStore(database, KeyVault(database, MasterKeys.from_keys([bytes(32)])))
            await store.append(make_commit())
            servers.mongod.kill()
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailable):
                    await store.append(make_commit(expected=1))
                with pytest.raises(StoreUnavailable):
                    await store.read("counter-1")
