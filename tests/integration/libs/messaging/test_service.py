"""A complete sample service on real servers: commands, reactions, leader tasks, shutdown, migration and rebuilds."""

import asyncio
import base64
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply
from infra.local import ports
from libs.clock import now
from libs.documents import Document
from libs.eventstore.decider import CommandMetadata, PreviousRow, RecordedEvent
from libs.eventstore.indexes import find_differing_indexes
from libs.eventstore.mapping import from_document
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.messaging.request_reply import MessageClient
from libs.projections.read_model import ReadModel, RowBackfill
from libs.projections.rebuild import backfill_row, rebuild_projection, rebuild_rows
from libs.projections.schema import list_indexes
from libs.security.envelope_encryption import MemoryKeyVault
from libs.service.connections import create_vault, get_database
from libs.service.declaration import Service
from libs.service.migration import find_pending, migrate
from libs.service.service_host import serve
from libs.settings import Settings
from tests.support.counters.app import create_next_release, create_service, totals
from tests.support.counters.counters import (
    CloseCounter,
    CounterClosed,
    CounterView,
    GetCounter,
    MirrorCounter,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.support.counters.domain import counters, mirrors
from tests.support.waiting import eventually


@dataclass(frozen=True)
class CounterService:
    settings: Settings
    database: AsyncDatabase[Document]
    bus: Client

    async def migrate(self, service: Service) -> list[str]:
        return await migrate([service], [self.database], [create_vault(self.database, self.settings)], self.bus)

    async def send(self, command: Command, command_id: str | None = None) -> CommandReply:
        return CommandReply.model_validate_json(await MessageClient(self.bus).send(command, command_id=command_id))

    async def get_counter(self, counter_id: str) -> CounterView:
        return CounterView.model_validate_json(await MessageClient(self.bus).query(GetCounter(counter_id=counter_id)))

    async def get_value(self, counter_id: str) -> int:
        try:
            return (await self.get_counter(counter_id)).value
        except RequestRejected:
            return 0

    async def find_leader(self) -> str:
        try:
            return (await self.bus.request("lead.counters", b"", timeout=1)).data.decode()
        except (NoRespondersError, TimeoutError):  # no leader, or one that was just killed
            return ""

    def run_replica(self, number: int, stop: asyncio.Event, service: Service | None = None) -> Awaitable[None]:
        return serve(service or create_service(), replace(self.settings, instance=f"replica-{number}"), stop)

    @asynccontextmanager
    async def running(self, service: Service | None = None, *, replicas: int = 2) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(self.run_replica(number, stop, service)) for number in range(replicas)]
        try:
            await eventually(self.is_answering)
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def is_answering(self) -> bool:
        try:
            return await self.get_counter("unknown") is None
        except RequestRejected as refused:
            return refused.code == "NOT_FOUND"

    async def count_commits(self, stream: str) -> int:
        return await self.database["commits"].count_documents({"stream": stream})

    async def read_totals(self) -> dict[str, tuple[int, int]]:
        found = self.database["view_totals_v1"].find({})
        return {document["_id"]: (document["row"]["raises"], document["row"]["total"]) async for document in found}

    async def compute_totals_from_log(self) -> dict[str, tuple[int, int]]:
        """Compute the totals directly from the event log."""
        raised: list[Document] = [
            {"$unwind": "$events"},
            {"$match": {"events.name": "CounterRaised"}},
            {"$group": {"_id": "$stream", "raises": {"$sum": 1}, "total": {"$sum": "$events.data.by"}}},
        ]
        found = await self.database["commits"].aggregate(raised)
        return {document["_id"]: (document["raises"], document["total"]) async for document in found}

    async def is_caught_up(self) -> bool:
        return await self.read_totals() == await self.compute_totals_from_log()


def new_metadata() -> CommandMetadata:
    return CommandMetadata(uuid4().hex, now())


@pytest.fixture
async def counter_service(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> CounterService:
    place = CounterService(settings, get_database(mongo_client, settings, "counters"), bus)
    await place.migrate(create_service())
    return place


async def test_a_repeated_command_has_one_effect_and_one_result(counter_service: CounterService) -> None:
    async with counter_service.running():
        raise_it = RaiseCounter(counter_id="1", by=5)
        answers = await asyncio.gather(*(counter_service.send(raise_it, "same") for _ in range(8)))
        again = await counter_service.send(raise_it, "same")
        assert [answer for answer in answers if answer != again] == []
        assert again.row["value"] == 5
        assert await counter_service.get_value("1") == 5


async def test_concurrent_commands_on_one_stream_at_two_replicas_are_all_recorded(
    counter_service: CounterService,
) -> None:
    async with counter_service.running():
        await asyncio.gather(*(counter_service.send(RaiseCounter(counter_id="1")) for _ in range(40)))
        assert await counter_service.get_value("1") == 40


async def test_commands_racing_for_one_name_get_one_winner(counter_service: CounterService) -> None:
    async with counter_service.running():
        commands = [counter_service.send(OpenCounter(counter_id=str(number), label="a")) for number in range(10)]
        outcomes = await asyncio.gather(*commands, return_exceptions=True)
    refusals = [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)]
    assert refusals == ["PROJECT_ALIAS_TAKEN"] * 9


async def test_policy_projection_periodic_task_and_worker_all_run(counter_service: CounterService) -> None:
    async def is_greeted() -> bool:
        return await counter_service.get_value("greeted-1") == 1

    async def has_ticked() -> bool:
        return await counter_service.get_value("clock") > 2

    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1

    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await eventually(is_mirrored)
        await eventually(is_greeted)
        await eventually(has_ticked)
        await counter_service.send(RaiseCounter(counter_id="1", by=9))
        await eventually(counter_service.is_caught_up)
        assert (await counter_service.read_totals())["counter-1"] == (1, 9)


async def test_a_synchronous_reaction_repeated_by_the_subscription_has_no_further_effect(
    counter_service: CounterService,
) -> None:
    async def has_passed() -> bool:
        reached = {"_id": "reactions-to-counters", "sequence": {"$gte": 1}}
        return await counter_service.database["followers"].count_documents(reached) == 1

    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await eventually(has_passed)
        assert await counter_service.count_commits("mirror-1") == 1


async def test_a_reaction_that_starts_a_stream_is_committed_with_its_cause(counter_service: CounterService) -> None:
    starting_mirrors = replace(mirrors, decider=replace(mirrors.decider, initial_commands=(MirrorCounter,)))
    async with counter_service.running(
        replace(create_service(), categories=(counters, starting_mirrors), periodic_tasks=())
    ):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        assert await counter_service.count_commits("mirror-1") == 1


async def test_reactions_lost_with_a_replica_are_run_by_the_subscription(counter_service: CounterService) -> None:
    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1

    deaf = replace(create_service(), policies={})
    async with counter_service.running(deaf):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
    assert await counter_service.count_commits("mirror-1") == 0
    async with counter_service.running():
        await eventually(is_mirrored)


async def test_another_replica_leads_when_the_leader_is_killed(counter_service: CounterService) -> None:
    environment = {
        "HEADRACE_MONGODB_URL": counter_service.settings.mongodb_url,
        "HEADRACE_NATS_URL": counter_service.settings.nats_url,
        "HEADRACE_MASTER_KEY": base64.b64encode(counter_service.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": counter_service.settings.database_prefix,
    }
    command = (sys.executable, "-m", "tests.integration.libs.messaging.toy_process")
    health = {name: ports.find_free_port() for name in ("one", "two")}
    processes = {
        name: await asyncio.create_subprocess_exec(
            *command,
            env={**environment, "HEADRACE_INSTANCE": name, "HEADRACE_HEALTH_PORT": str(port)},
            stderr=asyncio.subprocess.DEVNULL,
        )
        for name, port in health.items()
    }
    try:

        async def both_are_ready_and_one_leads() -> bool:
            ready = [await asyncio.to_thread(ports.is_http_ok, port, "/readyz") for port in health.values()]
            return all(ready) and await counter_service.find_leader() in processes

        await eventually(both_are_ready_and_one_leads, within=60)
        first = await counter_service.find_leader()
        processes[first].kill()
        (second,) = processes.keys() - {first}

        async def the_other_leads() -> bool:
            return await counter_service.find_leader() == second

        started = perf_counter()
        await eventually(the_other_leads, within=20)
        print(f"another replica leads after {perf_counter() - started:.2f} s")  # noqa: T201

        async def taken() -> bool:
            """Streams that the killed replica was writing stay locked until the database aborts its transaction."""
            try:
                await counter_service.send(RaiseCounter(counter_id="1", by=9), "repeated")
            except RequestRejected as refused:
                if refused.code not in ("SERVICE_TIMEOUT", "SERVICE_UNAVAILABLE"):
                    raise
                return False
            return True

        await eventually(taken, within=30)
        await eventually(counter_service.is_caught_up)
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_a_stopping_replica_finishes_commands_in_flight(counter_service: CounterService) -> None:
    stop = asyncio.Event()
    replica = asyncio.ensure_future(counter_service.run_replica(1, stop))
    await eventually(counter_service.is_answering)
    pending = [
        asyncio.create_task(counter_service.send(RaiseCounter(counter_id=str(number % 7)), f"c{number}"))
        for number in range(60)
    ]
    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    async with asyncio.timeout(10):
        await replica
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)}
    assert refused <= {"SERVICE_UNAVAILABLE"}
    done = sum(isinstance(outcome, CommandReply) for outcome in outcomes)
    assert await counter_service.database["commits"].count_documents({"_id": {"$regex": r"^c\d+$"}}) == done


def count_tasks(coroutine: str) -> int:
    return sum(getattr(task.get_coro(), "__qualname__", "") == coroutine for task in asyncio.all_tasks())


async def test_a_replica_stopped_during_startup_leaves_no_tasks_or_connections(counter_service: CounterService) -> None:
    for moment in range(25):
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(moment * 0.005, stop.set)
        await counter_service.run_replica(1, stop)
    connections = count_tasks("Client._read_loop")
    assert (connections, count_tasks("lead"), count_tasks("pulse")) == (1, 0, 0)  # the connection of the test itself
    gc.collect()  # an unclosed socket fails the test


def raise_closed(recorded: RecordedEvent[Any]) -> list[Command]:
    """Return a command that is always rejected: a closed counter cannot be raised."""
    closed = isinstance(recorded.event, CounterClosed)
    return [RaiseCounter(counter_id=recorded.stream.removeprefix("counter-"))] if closed else []


async def test_a_rejected_reaction_is_counted_once(counter_service: CounterService) -> None:
    port = ports.find_free_port()
    service = replace(create_service(), periodic_tasks=(), policies={"counters": raise_closed})
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(service, replace(counter_service.settings, health_port=port), stop))

    async def refused() -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        return next(line for line in metrics.splitlines() if line.startswith("headrace_reactions_refused_total"))

    async def is_followed() -> bool:
        position = await counter_service.database["followers"].find_one({"_id": "reactions-to-counters"})
        return position is not None and position["sequence"] == 3

    try:
        await eventually(counter_service.is_answering)
        assert (await refused()).endswith(" 0.0")
        for command in (OpenCounter(counter_id="1", label="a"), CloseCounter(counter_id="1")):
            await counter_service.send(command)
        await eventually(is_followed)
        assert (await refused()).endswith(" 1.0")
    finally:
        stop.set()
        await running


# ---- migration and rebuilds


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


async def test_an_index_with_other_settings_is_recreated(counter_service: CounterService) -> None:
    await counter_service.database["streams"].drop_indexes()
    await counter_service.database["streams"].create_index([("counter_v1.label", 1)], sparse=True)
    await counter_service.migrate(create_service())
    index = (await counter_service.database["streams"].index_information())["counter_v1.label_1"]
    assert "partialFilterExpression" in index


async def test_duplicate_documents_are_removed_when_their_index_becomes_unique(counter_service: CounterService) -> None:
    pieces = counter_service.database["pieces"]
    await pieces.create_index([("file", 1), ("offset", 1)])
    copy = {"file": "a", "offset": 0, "content": b"x"}
    await pieces.insert_many([{**copy}, {**copy}, {**copy, "offset": 1}, {**copy, "file": "b"}])
    await counter_service.migrate(replace(create_service(), unique_indexes={"pieces": ("file", "offset")}))
    assert sorted([(document["file"], document["offset"]) async for document in pieces.find({})]) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
    ]
    with pytest.raises(DuplicateKeyError):
        await pieces.insert_one({**copy})


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

        async def complete() -> bool:
            return [await counter_service.get_value("1"), await counter_service.get_value("2")] == [10, 6]

        await eventually(complete)


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

        async def led() -> bool:
            return await counter_service.find_leader() != ""

        await eventually(led)
        async with counter_service.running(create_next_release(), replicas=1):
            streams = CommandHandler(MongoEventStore(counter_service.database, MemoryKeyVault()))
            await streams.handle(counters, RaiseCounter(counter_id="1", by=5), new_metadata())

            async def complete() -> bool:
                head = await counter_service.database["streams"].find_one({"_id": "counter-1"})
                return bool(head and head.get("counter_v2", {}).get("value") == 10)

            await eventually(complete)


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

        async def led() -> bool:
            return await counter_service.find_leader() != ""

        await eventually(led)
        with pytest.raises(RequestRejected, match="SERVICE_UNAVAILABLE"):
            await counter_service.send(RaiseCounter(counter_id="1"))


async def test_searching_for_outdated_rows_reads_nothing_if_there_are_none(counter_service: CounterService) -> None:
    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
    behind = counter_service.database["streams"].find({"counter_row_version": {"$lt": 1}})
    seen = (await behind.explain())["executionStats"]
    assert (seen["totalDocsExamined"], seen["totalKeysExamined"]) == (0, 0)


async def rebuild_while_writing(place: CounterService, rebuild: Callable[[], Awaitable[Any]]) -> None:
    """Rebuild repeatedly while eight writers raise, relabel and close counters."""

    async def write(writer: int) -> None:
        for number in range(10):
            counter_id = f"{writer}-{number % 5}"
            await place.send(RaiseCounter(counter_id=counter_id, by=number % 3 + 1))
            await place.send(RelabelCounter(counter_id=counter_id, label=f"{counter_id}-{number}"))

    writing = asyncio.gather(*(write(writer) for writer in range(8)))
    while not writing.done():
        await rebuild()
    await writing
    await asyncio.gather(*(place.send(CloseCounter(counter_id=f"{writer}-0")) for writer in range(8)))


async def read_rows(place: CounterService) -> dict[str, Any]:
    return {
        document["_id"]: document["counter_v1"]
        async for document in place.database["streams"].find({"_id": {"$regex": "^c"}})
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
        await rebuild_while_writing(
            counter_service, lambda: rebuild_projection(counter_service.database, totals, counter_service.bus)
        )
        await eventually(counter_service.is_caught_up)
        assert await rebuild_projection(counter_service.database, totals, counter_service.bus) == 40
        await eventually(counter_service.is_caught_up)
        await counter_service.send(RaiseCounter(counter_id="after"))
        await eventually(counter_service.is_caught_up)


async def test_a_rebuilt_projection_has_its_declared_indexes(counter_service: CounterService) -> None:
    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(RaiseCounter(counter_id="1", by=5))
        await rebuild_projection(counter_service.database, totals, counter_service.bus)
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
    """Prints the throughput without checking it, because it depends on the load of the machine."""
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
        await rebuild_projection(counter_service.database, totals, counter_service.bus)
        view = sum(events) / (perf_counter() - started)
    print(f"events/s: cursor and decoding {bare:.0f}, rows {rows:.0f}, view {view:.0f}")  # noqa: T201
    assert sum(events) == 3000
