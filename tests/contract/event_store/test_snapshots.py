"""A stream with snapshots is loaded from its row, with the same result as from all its events."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore import EventStore
from libs.eventstore.decider import AnyCategory
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler, LoadedStream
from libs.eventstore.store import Snapshot
from tests.support.counters.commits import RECORDED_AT, make_metadata
from tests.support.counters.counters import CloseCounter, CounterView, OpenCounter, RaiseCounter
from tests.support.counters.domain import Counter, counters
from tests.support.memory_event_store import MemoryEventStore
from tests.support.memory_key_vault import MemoryKeyVault

LATER = RECORDED_AT + timedelta(hours=1)
with_snapshots = replace(counters, restore_state=lambda row: Counter(True, row.closed, row.label, row.value))
# the label "from the row" shows that a state comes from a snapshot
marked = replace(counters, restore_state=lambda row: Counter(True, row.closed, "from the row", row.value))


async def append_three_commits(store: EventStore) -> None:
    handler = CommandHandler(store)
    await handler.handle(counters, OpenCounter(counter_id="1", label="a"), make_metadata())
    await handler.handle(counters, RaiseCounter(counter_id="1", by=2), make_metadata())
    await handler.handle(counters, RaiseCounter(counter_id="1"), replace(make_metadata(), at=LATER))


async def test_a_stream_loaded_from_its_snapshot_equals_its_replay(store: EventStore) -> None:
    await append_three_commits(store)
    replayed = await CommandHandler(store).load(counters, "counter-1")
    assert replayed == LoadedStream(3, Counter(True, False, "a", 3), CounterView(label="a", value=3), LATER)
    assert await CommandHandler(store).load(with_snapshots, "counter-1") == replayed
    assert (await CommandHandler(store).load(marked, "counter-1")).state.label == "from the row"


async def test_an_earlier_version_than_that_of_the_snapshot_is_replayed(store: EventStore) -> None:
    await append_three_commits(store)
    earlier = await CommandHandler(store).load(marked, "counter-1", until=2)
    assert earlier == await CommandHandler(store).load(counters, "counter-1", until=2)
    assert (await CommandHandler(store).load(marked, "counter-1", until=3)).state.label == "from the row"


async def test_commands_continue_from_a_snapshot(store: EventStore) -> None:
    await append_three_commits(store)
    result = await CommandHandler(store).handle(with_snapshots, RaiseCounter(counter_id="1"), make_metadata())
    assert (result.version, result.row) == (4, CounterView(label="a", value=4))
    assert result.new_events[0].metadata.at == LATER


async def test_a_stream_without_a_row_is_replayed(store: EventStore) -> None:
    handler = CommandHandler(store)
    assert (await handler.load(marked, "counter-1")).version == 0
    await append_three_commits(store)
    await handler.handle(counters, CloseCounter(counter_id="1"), make_metadata())
    assert (await handler.load(marked, "counter-1")).state == Counter(True, True, "a", 3)


class LaggingStore(MemoryEventStore):
    """A store with a given snapshot.

    A snapshot that lags behind the log looks as if another process had appended since.
    """

    snapshot: Snapshot | None = None

    async def read_snapshot(self, _category: AnyCategory, _stream: str) -> Snapshot | None:
        return self.snapshot


async def test_commits_after_the_snapshot_are_applied_to_it() -> None:
    store = LaggingStore()
    await append_three_commits(store)
    store.snapshot = Snapshot(2, CounterView(label="a", value=2))
    assert await CommandHandler(store).load(with_snapshots, "counter-1") == await CommandHandler(store).load(
        counters, "counter-1"
    )


@pytest.mark.parametrize("version", [1, 3])
async def test_a_row_that_another_release_left_is_no_snapshot(database: AsyncDatabase[Document], version: int) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    await append_three_commits(store)
    category = replace(marked, row_version=2)
    left = {"counter_v2": CounterView(value=9).model_dump(), "counter_row_version": version}
    await database["streams"].update_one({"_id": "counter-1"}, {"$set": left})
    assert await store.read_snapshot(category, "counter-1") is None
    assert (await CommandHandler(store).load(category, "counter-1")).state == Counter(True, False, "a", 3)
    await CommandHandler(store).handle(category, RaiseCounter(counter_id="1"), make_metadata())
    assert await store.read_snapshot(category, "counter-1") == Snapshot(4, CounterView(label="a", value=4))


async def test_a_snapshot_without_its_commit_is_not_used() -> None:
    store = LaggingStore()
    await append_three_commits(store)
    store.snapshot = Snapshot(7, CounterView(label="a", value=9))
    assert (await CommandHandler(store).load(marked, "counter-1")).state == Counter(True, False, "a", 3)
