"""Removal of deleted streams from the event log: what remains of them, and what does not change."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.errors import RequestRejected
from contracts.messages import Command
from libs.clock import now
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.projections.rebuild import rebuild_rows
from libs.retention.stream_removal import PURGE_DELAY, StreamRemoval, mark_deleted_streams
from libs.service.connections import create_vault
from tests.integration.libs.service.counter_service import CounterService, new_metadata, rebuild_totals
from tests.support.counters.app import create_service
from tests.support.counters.counters import CloseCounter, OpenCounter, RaiseCounter
from tests.support.counters.domain import counters
from tests.support.waiting import eventually, eventually_equal

REMOVAL_DELAY = timedelta(days=7)
SERVICE = replace(create_service(), periodic_tasks=())


@pytest.fixture
async def running(counter_service: CounterService) -> AsyncIterator[CounterService]:
    """Run a service with two counters: `old` was opened by the command `opening` and deleted, `kept` exists."""
    async with counter_service.running(SERVICE, replicas=1):
        await counter_service.send(OpenCounter(counter_id="old", owner="ivan"), "opening")
        await counter_service.send(RaiseCounter(counter_id="old", by=5))
        await counter_service.send(CloseCounter(counter_id="old"))
        await counter_service.send(RaiseCounter(counter_id="kept", by=7))
        await eventually(counter_service.is_caught_up)
        yield counter_service


def removal_of(service: CounterService) -> StreamRemoval:
    return StreamRemoval(SERVICE, service.database, create_vault(service.database, service.settings))


async def count_all(service: CounterService) -> tuple[int, int]:
    """Return the number of commits and of heads of the deleted counter."""
    commits = await service.count_commits("counter-old")
    return commits, await service.database["streams"].count_documents({"_id": "counter-old"})


async def get_rejection(service: CounterService, command: Command, command_id: str = "") -> str:
    """Return the code with which a process whose cache is empty rejects the command."""
    handler = CommandHandler(MongoEventStore(service.database, create_vault(service.database, service.settings)))
    metadata = new_metadata()
    with pytest.raises(RequestRejected) as rejected:
        await handler.handle(counters, command, replace(metadata, command_id=command_id or metadata.command_id))
    return rejected.value.code


async def test_a_deleted_stream_leaves_the_log_in_two_steps(running: CounterService) -> None:
    removal, at = removal_of(running), now()
    assert await removal.run(at + REMOVAL_DELAY - timedelta(minutes=1), REMOVAL_DELAY) == 0
    assert await count_all(running) == (3, 1)
    removed_at = at + REMOVAL_DELAY + timedelta(minutes=1)
    assert await removal.run(removed_at, REMOVAL_DELAY) == 1
    assert await count_all(running) == (3, 0)
    assert await removal.run(removed_at + PURGE_DELAY + timedelta(minutes=1), REMOVAL_DELAY) == 0
    assert await count_all(running) == (1, 0)
    assert await running.get_value("kept") == 7


@pytest.mark.parametrize("after", [timedelta(), PURGE_DELAY + timedelta(minutes=1)])
async def test_a_removed_stream_does_not_exist_and_cannot_start_again(
    running: CounterService, after: timedelta
) -> None:
    at = now() + REMOVAL_DELAY + timedelta(minutes=1)
    await removal_of(running).run(at, REMOVAL_DELAY)
    await removal_of(running).run(at + after, REMOVAL_DELAY)
    assert await get_rejection(running, OpenCounter(counter_id="old"), "opening") == "NOT_FOUND"
    assert await get_rejection(running, OpenCounter(counter_id="old")) == "NOT_FOUND"
    assert await get_rejection(running, RaiseCounter(counter_id="old")) == "NOT_FOUND"
    assert (await count_all(running))[1] == 0


async def test_a_cumulative_projection_keeps_what_removed_streams_contributed(running: CounterService) -> None:
    before = await running.read_totals()
    at = now() + REMOVAL_DELAY + timedelta(minutes=1)
    await removal_of(running).run(at, REMOVAL_DELAY)
    await removal_of(running).run(at, REMOVAL_DELAY)
    await running.bus.jetstream().purge_stream("counters")
    await rebuild_totals(running)
    assert (await running.read_totals())["counter-old"] == before["counter-old"]


async def test_rows_and_events_of_removed_streams_do_not_come_back(counter_service: CounterService) -> None:
    async with counter_service.running(SERVICE, replicas=1):
        await counter_service.send(OpenCounter(counter_id="old"))
        await counter_service.send(CloseCounter(counter_id="old"))
        await counter_service.send(RaiseCounter(counter_id="kept"))
        await eventually(counter_service.is_caught_up)
        await removal_of(counter_service).run(now() + REMOVAL_DELAY + timedelta(minutes=1), REMOVAL_DELAY)
        await rebuild_rows(counter_service.database, counters)
        assert (await count_all(counter_service))[1] == 0
    js = counter_service.bus.jetstream()
    await js.purge_stream("counters")  # the relay publishes the whole log again
    async with counter_service.running(SERVICE, replicas=1):

        async def published() -> set[str]:
            info = await js.stream_info("counters", subjects_filter="evt.counters.>")
            return {subject.split(".")[2] for subject in info.state.subjects or {}}

        await eventually_equal(published, {"counter-kept", "counter-greeted-old", "mirror-old"})


async def test_the_migration_dates_streams_that_an_older_release_deleted(running: CounterService) -> None:
    await running.database["streams"].update_one({"_id": "counter-old"}, {"$unset": {"deleted_at": ""}})
    assert await removal_of(running).run(now() + REMOVAL_DELAY * 2, REMOVAL_DELAY) == 0
    assert await mark_deleted_streams(running.database, counters) == 1
    assert await removal_of(running).run(now() + REMOVAL_DELAY * 2, REMOVAL_DELAY) == 1
