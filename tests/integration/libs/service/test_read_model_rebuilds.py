"""Rebuilds of rows and projections while commands change them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from libs.eventstore.indexes import find_differing_indexes
from libs.eventstore.mapping import from_document
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.messaging.jetstream import EMPTIED, FULL_REPUBLISH, POSITION_HEADER
from libs.projections.rebuild import rebuild_rows
from libs.projections.schema import list_indexes
from libs.service.connections import create_vault
from tests.integration.libs.service.counter_service import CounterService, new_metadata, rebuild_totals
from tests.support.counters.app import create_service
from tests.support.counters.counters import (
    CloseCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.support.counters.domain import counters
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import eventually


async def rebuild_while_writing(counter_service: CounterService, rebuild: Callable[[], Awaitable[Any]]) -> None:
    """Rebuild repeatedly while eight writers raise and relabel counters. Then close one counter of each writer."""

    async def write(writer: int) -> None:
        for number in range(10):
            counter_id = f"{writer}-{number % 5}"
            await counter_service.send(RaiseCounter(counter_id=counter_id, by=number % 3 + 1))
            await counter_service.send(RelabelCounter(counter_id=counter_id, label=f"{counter_id}-{number}"))

    writing = asyncio.gather(*(write(writer) for writer in range(8)))
    while not writing.done():
        await rebuild()
    await writing
    await asyncio.gather(*(counter_service.send(CloseCounter(counter_id=f"{writer}-0")) for writer in range(8)))


async def read_rows(counter_service: CounterService) -> dict[str, Any]:
    return {
        document["_id"]: document["counter_v1"]
        async for document in counter_service.database["streams"].find({"_id": {"$regex": "^c"}})
    }


async def test_rows_rebuilt_during_writes_equal_the_written_rows(counter_service: CounterService) -> None:
    vault = create_vault(counter_service.database, counter_service.settings)
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await rebuild_while_writing(counter_service, lambda: rebuild_rows(counter_service.database, counters, vault))
        written = await read_rows(counter_service)
        assert await rebuild_rows(counter_service.database, counters, vault) == 40
        assert await read_rows(counter_service) == written
    assert [row for name, row in written.items() if name.endswith("-0")] == [None] * 8


async def test_a_projection_rebuilt_during_writes_equals_the_live_projection(counter_service: CounterService) -> None:
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await rebuild_while_writing(counter_service, lambda: rebuild_totals(counter_service))
        await eventually(counter_service.is_caught_up)
        assert await rebuild_totals(counter_service) == 40
        await eventually(counter_service.is_caught_up)
        await counter_service.send(RaiseCounter(counter_id="after"))
        await eventually(counter_service.is_caught_up)


async def test_a_rebuild_starts_over_when_a_relay_empties_the_stream(counter_service: CounterService) -> None:
    """The rebuild finds the marker of a relay that died before it emptied the stream. The next relay empties it."""
    async with counter_service.running(replace(create_service(), periodic_tasks=()), replicas=1):
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await eventually(counter_service.is_caught_up)
        js = counter_service.bus.jetstream()
        marker = await js.publish(
            f"evt.counters.{EMPTIED}", b"{}", headers={POSITION_HEADER: FULL_REPUBLISH}, stream="counters"
        )
        rebuild = asyncio.create_task(rebuild_totals(counter_service))
        await counter_service.send(RaiseCounter(counter_id="2", by=7))
        await rebuild
        await eventually(counter_service.is_caught_up)
        assert (await js.stream_info("counters")).state.first_seq > marker.seq


async def test_a_rebuilt_projection_has_its_declared_indexes(counter_service: CounterService) -> None:
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await rebuild_totals(counter_service)
    assert await find_differing_indexes(counter_service.database, list(list_indexes(create_service()))) == []
    by_total = counter_service.database["view_totals_v1"].find({}).sort("row.total", -1).limit(1)
    assert (await by_total.explain())["queryPlanner"]["winningPlan"]["inputStage"]["inputStage"]["stage"] == "IXSCAN"


async def test_a_rebuild_restores_a_lost_row(counter_service: CounterService) -> None:
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await counter_service.database["streams"].update_one({"_id": "counter-1"}, {"$unset": {"counter_v1": ""}})
        assert await counter_service.get_value("1") == 0
        await rebuild_rows(counter_service.database, counters)
        assert await counter_service.get_value("1") == 5


async def test_rows_and_projections_are_rebuilt_from_3000_events(counter_service: CounterService) -> None:
    """The throughput is printed but not checked, because it depends on the machine's load."""
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
        await asyncio.gather(
            *(
                streams.handle(counters, RaiseCounter(counter_id=str(number % 200), by=3), new_metadata())
                for number in range(1000)
            )
        )
        started = perf_counter()
        events = [
            len(await from_document(commit, None)) async for commit in counter_service.database["commits"].find({})
        ]
        bare = sum(events) / (perf_counter() - started)
        started = perf_counter()
        await rebuild_rows(counter_service.database, counters)
        rows = sum(events) / (perf_counter() - started)
        await eventually(counter_service.is_caught_up, within=20)
        started = perf_counter()
        await rebuild_totals(counter_service)
        view = sum(events) / (perf_counter() - started)
    print(f"events/s: cursor and decoding {bare:.0f}, rows {rows:.0f}, view {view:.0f}")  # noqa: T201
    assert sum(events) == 3000
