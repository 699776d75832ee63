"""The command handler on every event store: results, idempotency keys, caching and follow-ups."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from contracts.errors import RequestRejected
from libs.eventstore import EventStore, PendingCommit
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.eventstore.repository import CommandHandler, CommandResult, FollowUp
from tests.support.counters.commits import RAISED, RECORDED_AT, make_commit, make_metadata
from tests.support.counters.counters import (
    CloseCounter,
    CounterOpened,
    CounterView,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.support.counters.domain import counters
from tests.support.memory_event_store import MemoryEventStore


def keyed_metadata(fingerprint: str) -> CommandMetadata:
    return make_metadata("same", repeatable=True, fingerprint=fingerprint)


async def test_a_command_returns_version_row_and_new_events(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    result = await handler.handle(counters, RaiseCounter(counter_id="1", by=2), make_metadata())
    assert (result.version, result.row) == (2, CounterView(label="a", value=2))
    assert [recorded.event for recorded in result.new_events] == [RAISED, RAISED]


async def test_a_command_without_effect_records_no_event(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    result = await handler.handle(counters, RelabelCounter(counter_id="1", label="a"), make_metadata())
    assert (result.version, result.new_events) == (1, ())


async def test_a_repeated_command_returns_its_first_result(handler: CommandHandler) -> None:
    first = await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata("first"))
    await handler.handle(counters, RaiseCounter(counter_id="1"), make_metadata())
    expected = CommandResult(first.stream, first.version, first.row, ())
    assert await handler.find_result(counters, make_metadata("first")) == expected
    assert await handler.find_result(counters, make_metadata("second")) is None
    repeated = make_metadata("first", repeatable=True)
    assert await handler.handle(counters, OpenCounter(counter_id="1", label="a"), repeated) == expected


async def test_concurrent_repeats_of_a_command_have_one_effect_and_one_result(handler: CommandHandler) -> None:
    same = [make_metadata("same", repeatable=True) for _ in range(10)]
    results = await asyncio.gather(
        *(handler.handle(counters, OpenCounter(counter_id="1", label="a"), metadata) for metadata in same)
    )
    assert {(result.version, result.row) for result in results} == {(1, CounterView(label="a"))}
    assert [len(result.new_events) for result in results].count(1) == 1


async def test_an_idempotency_key_belongs_to_one_request(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), keyed_metadata("one"))
    assert await handler.find_result(counters, keyed_metadata("one")) is not None
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await handler.find_result(counters, keyed_metadata("other"))
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await handler.handle(counters, OpenCounter(counter_id="2", label="b"), keyed_metadata("other"))


async def test_only_one_of_many_concurrent_requests_with_one_key_succeeds(
    store: EventStore, handler: CommandHandler
) -> None:
    attempts = [
        handler.handle(counters, OpenCounter(counter_id=str(number), label=str(number)), keyed_metadata(str(number)))
        for number in range(10)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    refusals = [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)]
    assert refusals == ["IDEMPOTENCY_KEY_REUSED"] * 9
    assert sum([len(await store.read(f"counter-{number}")) for number in range(10)]) == 1


async def test_the_key_of_a_request_without_effect_is_remembered(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    relabel = RelabelCounter(counter_id="1", label="a")
    first = await handler.handle(counters, relabel, keyed_metadata("one"))
    await handler.handle(counters, RelabelCounter(counter_id="1", label="b"), make_metadata())
    assert await handler.find_result(counters, keyed_metadata("one")) == first
    assert (first.version, first.row) == (1, CounterView(label="a"))
    with pytest.raises(RequestRejected, match="IDEMPOTENCY_KEY_REUSED"):
        await handler.find_result(counters, keyed_metadata("other"))


async def test_concurrent_requests_without_effect_share_no_key(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    relabel = RelabelCounter(counter_id="1", label="a")
    attempts = [handler.handle(counters, relabel, keyed_metadata(str(number % 2))) for number in range(6)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {CommandResult: 3, RequestRejected: 3}


async def test_a_rejected_request_leaves_its_key_free(handler: CommandHandler) -> None:
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await handler.handle(counters, OpenCounter(counter_id="2", label="a"), keyed_metadata("one"))
    result = await handler.handle(counters, OpenCounter(counter_id="2", label="b"), keyed_metadata("other"))
    assert result.row == CounterView(label="b")


async def test_a_cached_state_is_refreshed_before_a_command_is_rejected(store: EventStore) -> None:
    local, remote = CommandHandler(store), CommandHandler(store)
    await local.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    await remote.handle(counters, RelabelCounter(counter_id="1", label="b"), make_metadata())
    result = await local.handle(counters, RelabelCounter(counter_id="1", label="a"), make_metadata())
    assert (result.version, result.row) == (3, CounterView(label="a"))
    await remote.handle(counters, CloseCounter(counter_id="1"), make_metadata())
    with pytest.raises(RequestRejected, match="BUILD_STATUS"):
        await local.handle(counters, RaiseCounter(counter_id="1"), make_metadata())


class ReadCountingStore(MemoryEventStore):
    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[RecordedEvent[Any]]:
        self.reads.append(stream)
        return await super().read(stream, after=after, until=until)


async def test_loaded_streams_are_cached_up_to_a_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.eventstore.repository.MAX_CACHE_BYTES", 100_000)
    store = ReadCountingStore()
    handler = CommandHandler(store)

    async def read_again(*ids: str) -> list[str]:
        store.reads.clear()
        for counter_id in ids:
            await handler.handle(counters, RaiseCounter(counter_id=counter_id), make_metadata())
        return store.reads

    await handler.handle(counters, OpenCounter(counter_id="small", label="x"), make_metadata())
    await handler.handle(counters, OpenCounter(counter_id="huge", label="x" * 60_000), make_metadata())
    assert await read_again("small", "small", "huge", "huge") == ["counter-huge", "counter-huge"]
    for number in range(3):  # open one stream more than the cache holds
        await handler.handle(counters, OpenCounter(counter_id=f"{number}", label=f"{number}" * 20_000), make_metadata())
    assert await read_again("2", "1", "small", "0") == ["counter-small", "counter-0"]


async def test_event_times_never_decrease_within_a_stream(handler: CommandHandler, store: EventStore) -> None:
    slow_clock = replace(make_metadata(), at=RECORDED_AT - timedelta(seconds=5))
    await handler.handle(counters, RaiseCounter(counter_id="1"), make_metadata())
    await handler.handle(counters, RaiseCounter(counter_id="1"), slow_clock)
    assert [recorded.at for recorded in await store.read("counter-1")] == [RECORDED_AT, RECORDED_AT]


async def start_next_counter(events: Sequence[RecordedEvent[Any]]) -> Sequence[FollowUp]:
    opened = [recorded for recorded in events if isinstance(recorded.event, CounterOpened)]
    starting = replace(counters, decider=replace(counters.decider, initial_commands=(OpenCounter,)))
    return [(starting, OpenCounter(counter_id="next"), make_metadata(f"after {recorded.id}")) for recorded in opened]


async def test_follow_up_streams_are_recorded_in_the_same_commit(handler: CommandHandler, store: EventStore) -> None:
    result = await handler.handle(counters, OpenCounter(counter_id="1"), make_metadata(), start_next_counter)
    assert [recorded.stream for recorded in result.new_events] == ["counter-1", "counter-next"]
    assert [recorded.metadata.command_id for recorded in await store.read("counter-next")] == ["after counter-1@1.0"]


async def test_an_existing_follow_up_stream_does_not_block_the_command(
    handler: CommandHandler, store: EventStore
) -> None:
    await store.append(make_commit("counter-next"))
    result = await handler.handle(counters, OpenCounter(counter_id="1"), make_metadata(), start_next_counter)
    assert [recorded.stream for recorded in result.new_events] == ["counter-1"]


async def raise_other_counter(events: Sequence[RecordedEvent[Any]]) -> Sequence[FollowUp]:
    return [(counters, RaiseCounter(counter_id="other"), make_metadata(f"after {events[0].id}"))]


async def test_a_follow_up_on_an_existing_stream_is_recorded_in_the_same_commit(
    handler: CommandHandler, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # another process appends this commit: the handler has not cached the stream
    await store.append(make_commit("counter-other"))
    appended: list[list[str]] = []

    async def append(*commits: PendingCommit) -> None:
        appended.append([commit.stream for commit in commits])
        await write(*commits)

    write = store.append
    monkeypatch.setattr(store, "append", append)
    result = await handler.handle(counters, RaiseCounter(counter_id="1"), make_metadata(), raise_other_counter)
    assert [recorded.stream for recorded in result.new_events] == ["counter-1", "counter-other"]
    assert appended == [["counter-1", "counter-other"]]
    assert [recorded.metadata.command_id for recorded in await store.read("counter-other", after=1)] == [
        "after counter-1@1.0"
    ]


async def test_a_follow_up_does_not_wait_for_a_command_to_its_stream(
    handler: CommandHandler, monkeypatch: pytest.MonkeyPatch, store: EventStore
) -> None:
    is_appending, may_go_on = asyncio.Event(), asyncio.Event()

    async def append(*commits: PendingCommit) -> None:
        if commits[0].stream == "counter-other":
            is_appending.set()
            await may_go_on.wait()
        await write(*commits)

    write = store.append
    monkeypatch.setattr(store, "append", append)
    other = asyncio.create_task(handler.handle(counters, RaiseCounter(counter_id="other"), make_metadata()))
    await is_appending.wait()
    result = await handler.handle(counters, RaiseCounter(counter_id="1"), make_metadata(), raise_other_counter)
    may_go_on.set()
    assert [recorded.stream for recorded in result.new_events] == ["counter-1"]
    assert (await other).version == 1


async def test_a_rejected_follow_up_does_not_block_the_command(handler: CommandHandler) -> None:
    await handler.handle(counters, CloseCounter(counter_id="other"), make_metadata())
    result = await handler.handle(counters, RaiseCounter(counter_id="1"), make_metadata(), raise_other_counter)
    assert [recorded.stream for recorded in result.new_events] == ["counter-1"]
