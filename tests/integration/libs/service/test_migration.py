"""Migration of the counter service: indexes, duplicates, and rows of older and later releases."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from libs.eventstore.decider import PreviousRow
from libs.eventstore.indexes import find_differing_indexes
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.projections.read_model import ReadModel, RowBackfill
from libs.projections.rebuild import backfill_row
from libs.projections.schema import list_indexes
from libs.service.migration import find_pending
from libs.settings import Settings
from tests.integration.libs.service.counter_service import CounterService, new_metadata
from tests.support.counters.app import create_next_release, create_service
from tests.support.counters.counters import (
    CloseCounter,
    CounterView,
    OpenCounter,
    RaiseCounter,
)
from tests.support.counters.domain import counters
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import eventually


async def test_a_second_migration_changes_nothing(counter_service: CounterService) -> None:
    async with counter_service.running():
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        again = await counter_service.migrate(create_service())
        assert await counter_service.get_value("1") == 5
    assert [line for line in again if "rows" in line or "made" in line] == []


async def test_a_sorted_query_reads_only_the_returned_rows(counter_service: CounterService) -> None:
    streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
    raising = [RaiseCounter(counter_id=str(number), by=number + 10) for number in range(300)]
    await asyncio.gather(*(streams.handle(counters, command, new_metadata()) for command in raising))
    rows = ReadModel[CounterView](counter_service.database["streams"], CounterView, "counter_v1", "counter-")
    await counter_service.database.command("profile", 2)
    top = await rows.find({}, [("value", -1)], limit=3)
    await counter_service.database.command("profile", 0)
    assert [row.value for row in top] == [309, 308, 307]
    seen = await counter_service.database["system.profile"].find_one({"op": "query", "command.find": "streams"})
    assert seen is not None
    assert seen["docsExamined"] == 3


async def test_an_index_with_other_settings_is_recreated_and_missing_ones_are_created(
    counter_service: CounterService,
) -> None:
    await counter_service.database["streams"].drop_indexes()
    await counter_service.database["streams"].create_index([("counter_v1.label", 1)], sparse=True)
    await counter_service.migrate(create_service())
    index = (await counter_service.database["streams"].index_information())["counter_v1.label_1"]
    assert "partialFilterExpression" in index
    assert await find_differing_indexes(counter_service.database, list(list_indexes(create_service()))) == []


async def test_duplicate_documents_are_removed_when_their_index_becomes_unique(counter_service: CounterService) -> None:
    chunks = counter_service.database["pieces"]
    await chunks.create_index([("file", 1), ("offset", 1)])
    copy = {"file": "a", "offset": 0, "content": b"x"}
    await chunks.insert_many([{**copy}, {**copy}, {**copy, "offset": 1}, {**copy, "file": "b"}])
    await counter_service.migrate(replace(create_service(), unique_indexes={"pieces": ("file", "offset")}))
    assert sorted([(document["file"], document["offset"]) async for document in chunks.find({})]) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
    ]
    with pytest.raises(DuplicateKeyError):
        await chunks.insert_one({**copy})


async def test_concurrent_migrations_succeed(settings: Settings, counter_service: CounterService) -> None:
    await asyncio.gather(counter_service.migrate(create_next_release()), counter_service.migrate(create_next_release()))
    assert await find_pending(create_next_release(), counter_service.database, counter_service.bus) is None


async def test_a_raised_row_version_rebuilds_the_rows(counter_service: CounterService) -> None:
    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a", owner="Ivan"))
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await counter_service.send(OpenCounter(counter_id="2", label="b"))
        await counter_service.send(CloseCounter(counter_id="2"))
    assert await find_pending(create_next_release(), counter_service.database, counter_service.bus) is not None
    await counter_service.migrate(create_next_release())
    assert await find_pending(create_next_release(), counter_service.database, counter_service.bus) is None
    async with counter_service.running(create_next_release()):
        assert await counter_service.get_counter("1") == CounterView(label="a", owner="Ivan", value=10)
        with pytest.raises(RequestRejected, match="NOT_FOUND"):
            await counter_service.get_counter("2")
        assert (await counter_service.send(RaiseCounter(counter_id="1"))).row["value"] == 12


async def test_writes_of_the_older_release_after_the_migration_are_in_the_new_rows(
    counter_service: CounterService,
) -> None:
    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await counter_service.migrate(create_next_release())
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await counter_service.send(OpenCounter(counter_id="2", label="b"))
        await counter_service.send(RaiseCounter(counter_id="2", by=3))
    async with counter_service.running(create_next_release()):

        async def is_complete() -> bool:
            return [await counter_service.get_value("1"), await counter_service.get_value("2")] == [10, 6]

        await eventually(is_complete)


async def test_a_row_written_by_the_older_release_is_read_in_the_new_version(counter_service: CounterService) -> None:
    await counter_service.migrate(create_next_release())
    streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), new_metadata())
    await streams.handle(counters, RaiseCounter(counter_id="1", by=5), new_metadata())
    category = create_next_release().categories[0]
    complete = partial(backfill_row, counter_service.database, category, MemoryKeyVault())
    completion = RowBackfill(category.row_version_field, category.row_version, complete)
    rows = ReadModel[CounterView](
        counter_service.database["streams"], CounterView, category.row_field, "counter-", backfill=completion
    )
    assert await rows.get("counter-1") == CounterView(label="a", value=10)
    assert await rows.get("counter-2") is None


async def test_rows_of_the_older_release_are_backfilled_while_it_leads(counter_service: CounterService) -> None:
    async with counter_service.running(replicas=1):
        await counter_service.migrate(create_next_release())

        async def has_leader() -> bool:
            return await counter_service.find_leader() != ""

        await eventually(has_leader)
        async with counter_service.running(create_next_release(), replicas=1):
            streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
            await streams.handle(counters, RaiseCounter(counter_id="1", by=5), new_metadata())

            async def is_complete() -> bool:
                head = await counter_service.database["streams"].find_one({"_id": "counter-1"})
                return bool(head and head.get("counter_v2", {}).get("value") == 10)

            await eventually(is_complete)


async def test_the_row_version_of_the_previous_release_is_written_too(counter_service: CounterService) -> None:
    await counter_service.migrate(create_next_release())
    former = PreviousRow[CounterView](1, lambda row: row.replace(value=row.value // 2))
    category = replace(create_next_release().categories[0], previous_row=former)
    streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
    earlier = ReadModel[CounterView](counter_service.database["streams"], CounterView, "counter_v1", "counter-")
    await streams.handle(category, OpenCounter(counter_id="1", label="a"), new_metadata())
    await streams.handle(category, RaiseCounter(counter_id="1", by=5), new_metadata())
    assert await earlier.get("counter-1") == CounterView(label="a", value=5)
    await streams.handle(category, CloseCounter(counter_id="1"), new_metadata())
    assert await earlier.get("counter-1") is None


async def test_a_stream_with_events_of_a_later_release_is_reported_as_unavailable(
    counter_service: CounterService,
) -> None:
    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
    later = {"$set": {"events.0.name": "CounterPainted"}}
    await counter_service.database["commits"].update_one({"stream": "counter-1"}, later)
    async with counter_service.running(replicas=1):

        async def has_leader() -> bool:
            return await counter_service.find_leader() != ""

        await eventually(has_leader)
        with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
            await counter_service.send(RaiseCounter(counter_id="1"))


async def test_searching_for_outdated_rows_reads_nothing_if_there_are_none(counter_service: CounterService) -> None:
    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
    behind = counter_service.database["streams"].find({"counter_row_version": {"$lt": 1}})
    seen = (await behind.explain())["executionStats"]
    assert (seen["totalDocsExamined"], seen["totalKeysExamined"]) == (0, 0)
