"""Projections that are filled from the log, because their stream was trimmed."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from pymongo import AsyncMongoClient

from libs.clock import now
from libs.documents import Document
from libs.messaging.request_reply import MessageClient
from libs.retention.removal_hold import RemovalHeld
from libs.retention.stream_removal import StreamRemoval
from libs.retention.stream_trimming import MIN_AGE, StreamLimits, trim_stream
from libs.security.erased_keys import KeyErased
from libs.service.connections import create_vault, get_database
from libs.service.declaration import Service
from libs.service.migration import migrate
from libs.service.service_host import serve
from libs.subscriptions import event_log
from libs.subscriptions.checkpoints import CHECKPOINTS
from libs.subscriptions.event_log import DatabaseLog, LogReader, RemoteLog
from tests.integration.libs.service.counter_service import CounterService, rebuild_totals
from tests.support.counters.app import create_service, totals
from tests.support.counters.counters import CloseCounter, RaiseCounter
from tests.support.waiting import eventually

SERVICE = replace(create_service(), periodic_tasks=())


@pytest.fixture
async def trimmed(counter_service: CounterService, monkeypatch: pytest.MonkeyPatch) -> CounterService:
    """Return a service whose stream has only the last event. All events are read from the log."""
    monkeypatch.setattr(event_log, "MAX_CLOCK_SKEW", timedelta())
    monkeypatch.setattr(event_log, "MAX_COMMITS", 5)
    async with counter_service.running(SERVICE, replicas=1):
        for number in range(12):
            await counter_service.send(RaiseCounter(counter_id=str(number % 3), by=number))
        await eventually(lambda: trim(counter_service))
    return counter_service


async def trim(service: CounterService) -> bool:
    """Trim the stream. Return whether all events were published and only the last one is left."""
    limits, at = StreamLimits(MIN_AGE, None), now() + 2 * MIN_AGE
    await trim_stream(service.bus, service.database, "counters", ["view_totals_v1"], limits, at, public=False)
    state = (await service.bus.jetstream().stream_info("counters")).state
    return state.first_seq == state.last_seq == len(await list_ids(service))


async def list_ids(service: CounterService) -> list[str]:
    commits = service.database["commits"].find({}).sort("at", 1)
    return [
        f"{commit['stream']}@{commit['version']}.{index}"
        async for commit in commits
        for index in range(len(commit["events"]))
    ]


async def test_a_projection_that_starts_over_on_a_trimmed_stream_has_all_events(trimmed: CounterService) -> None:
    await trimmed.database[CHECKPOINTS].delete_one({"_id": "view_totals_v1"})
    async with trimmed.running(SERVICE, replicas=1):
        await eventually(trimmed.is_caught_up)
        await trimmed.send(RaiseCounter(counter_id="0", by=100))
        await eventually(trimmed.is_caught_up)


async def test_a_projection_rebuilt_on_a_trimmed_stream_has_all_events(trimmed: CounterService) -> None:
    await trimmed.database["view_totals_v1"].delete_many({})
    assert await rebuild_totals(trimmed) == 3
    assert await trimmed.is_caught_up()
    async with trimmed.running(SERVICE, replicas=1):
        await trimmed.send(RaiseCounter(counter_id="0", by=100))
        await eventually(trimmed.is_caught_up)


async def test_another_service_that_follows_a_trimmed_stream_has_all_events(
    trimmed: CounterService, mongo_client: AsyncMongoClient[Document]
) -> None:
    follower = Service("tallies", categories=(), projections=(replace(totals, is_cumulative=False),))
    database = get_database(mongo_client, trimmed.settings, follower.name)
    await migrate([follower], [database], [create_vault(database, trimmed.settings)], trimmed.bus)

    async def is_caught_up() -> bool:
        found = database["view_totals_v1"].find({})
        rows = {row["_id"]: (row["row"]["raises"], row["row"]["total"]) async for row in found}
        return rows == await trimmed.compute_totals_from_log()

    stop = asyncio.Event()
    async with trimmed.running(SERVICE, replicas=1), asyncio.TaskGroup() as group:
        group.create_task(serve(follower, trimmed.settings.model_copy(update={"instance": "follower"}), stop))
        try:
            await eventually(is_caught_up)
            await trimmed.send(RaiseCounter(counter_id="0", by=100))
            await eventually(is_caught_up)
        finally:
            stop.set()


async def read_ids(log: LogReader) -> list[str]:
    ids: list[str] = []
    position, end = "", None
    while end is None:
        page = await log.read(position)
        ids += [recorded.id for recorded in page.events]
        position, end = page.next, page.end
    return ids


async def test_a_service_gets_the_log_of_another_one_in_pages(trimmed: CounterService) -> None:
    expected = await list_ids(trimmed)
    assert sorted(await read_ids(DatabaseLog(trimmed.database))) == sorted(expected)
    of_one = [id_ for id_ in await read_ids(DatabaseLog(trimmed.database)) if id_.startswith("counter-0@")]
    assert of_one == sorted(of_one)
    async with trimmed.running(SERVICE, replicas=1):
        remote = await read_ids(RemoteLog(MessageClient(trimmed.bus), "counters"))
    assert remote == await read_ids(DatabaseLog(trimmed.database))


async def test_streams_are_not_removed_while_the_log_is_read(trimmed: CounterService) -> None:
    async with trimmed.running(SERVICE, replicas=1):
        await trimmed.send(CloseCounter(counter_id="0"))
    vault = create_vault(trimmed.database, trimmed.settings)
    sealed = await vault.encrypt("counter-0", "an owner")
    removal = StreamRemoval(SERVICE, trimmed.database, vault)
    assert "counter-0@1.0" in await read_ids(DatabaseLog(trimmed.database))
    with pytest.raises(RemovalHeld):
        await removal.run(now() + timedelta(seconds=1), timedelta())
    assert await vault.decrypt("counter-0", sealed) == "an owner"
    assert await removal.run(now() + timedelta(minutes=3), timedelta()) == 1
    assert not [id_ for id_ in await read_ids(DatabaseLog(trimmed.database)) if id_.startswith("counter-0@")]
    with pytest.raises(KeyErased):
        await vault.decrypt("counter-0", sealed)
