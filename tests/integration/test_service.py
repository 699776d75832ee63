"""A whole service, made for tests, on real servers: answers, reactions, duties, stop, migration, rebuilding."""

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

from contracts.errors import Refused
from contracts.messages import Command, Done
from infra.local import ports
from libs.clock import now
from libs.connections import Document, database_of, vault_of
from libs.deciding import Cause, FormerRow, Recorded
from libs.eventstore.documents import from_document
from libs.eventstore.mongo import MongoStore
from libs.eventstore.streams import Streams
from libs.hosting import serve
from libs.indexes import differing_indexes
from libs.messaging import Caller
from libs.migration import migrate, pending
from libs.rebuilding import complete_row, rebuild_rows, rebuild_view
from libs.rows import Completion, Rows
from libs.schema import indexes_of
from libs.security.sealing import MemoryVault
from libs.service import Service
from libs.settings import Settings
from tests.support import eventually
from tests.toy.app import declare, declare_next, totals
from tests.toy.counters import (
    CloseCounter,
    CounterClosed,
    CounterView,
    GetCounter,
    MirrorCounter,
    OpenCounter,
    RaiseCounter,
    RelabelCounter,
)
from tests.toy.domain import counters, mirrors


@dataclass(frozen=True)
class Place:
    settings: Settings
    database: AsyncDatabase[Document]
    bus: Client

    async def migrate(self, service: Service) -> list[str]:
        return await migrate([service], [self.database], [vault_of(self.database, self.settings)], self.bus)

    async def tell(self, command: Command, command_id: str | None = None) -> Done:
        return Done.model_validate_json(await Caller(self.bus).tell(command, command_id=command_id))

    async def ask(self, counter_id: str) -> CounterView:
        return CounterView.model_validate_json(await Caller(self.bus).ask(GetCounter(counter_id=counter_id)))

    async def value(self, counter_id: str) -> int:
        try:
            return (await self.ask(counter_id)).value
        except Refused:
            return 0

    async def leader(self) -> str:
        try:
            return (await self.bus.request("lead.counters", b"", timeout=1)).data.decode()
        except (NoRespondersError, TimeoutError):  # nobody, or somebody who was just killed
            return ""

    def replica(self, number: int, stop: asyncio.Event, service: Service | None = None) -> Awaitable[None]:
        return serve(service or declare(), replace(self.settings, instance=f"replica-{number}"), stop)

    @asynccontextmanager
    async def running(self, service: Service | None = None, *, replicas: int = 2) -> AsyncIterator[None]:
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(self.replica(number, stop, service)) for number in range(replicas)]
        try:
            await eventually(self.answers)
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def answers(self) -> bool:
        try:
            return await self.ask("unknown") is None
        except Refused as refused:
            return refused.code == "NOT_FOUND"

    async def commits(self, stream: str) -> int:
        return await self.database["commits"].count_documents({"stream": stream})

    async def live_totals(self) -> dict[str, tuple[int, int]]:
        found = self.database["view_totals_v1"].find({})
        return {one["_id"]: (one["row"]["raises"], one["row"]["total"]) async for one in found}

    async def true_totals(self) -> dict[str, tuple[int, int]]:
        """By hand from the log."""
        raised: list[Document] = [
            {"$unwind": "$events"},
            {"$match": {"events.name": "CounterRaised"}},
            {"$group": {"_id": "$stream", "raises": {"$sum": 1}, "total": {"$sum": "$events.data.by"}}},
        ]
        found = await self.database["commits"].aggregate(raised)
        return {one["_id"]: (one["raises"], one["total"]) async for one in found}

    async def is_level(self) -> bool:
        return await self.live_totals() == await self.true_totals()


def cause() -> Cause:
    return Cause(uuid4().hex, now())


@pytest.fixture
async def place(settings: Settings, mongo_client: AsyncMongoClient[Document], bus: Client) -> Place:
    place = Place(settings, database_of(mongo_client, settings, "counters"), bus)
    await place.migrate(declare())
    return place


async def test_the_same_command_twice_answers_alike_and_has_one_effect(place: Place) -> None:
    async with place.running():
        raise_it = RaiseCounter(counter_id="1", by=5)
        answers = await asyncio.gather(*(place.tell(raise_it, "same") for _ in range(8)))
        again = await place.tell(raise_it, "same")
        assert [one for one in answers if one != again] == []
        assert again.row["value"] == 5
        assert await place.value("1") == 5


async def test_commands_on_one_stream_through_two_replicas_are_all_recorded(place: Place) -> None:
    async with place.running():
        await asyncio.gather(*(place.tell(RaiseCounter(counter_id="1")) for _ in range(40)))
        assert await place.value("1") == 40


async def test_a_name_is_given_to_one_of_many(place: Place) -> None:
    async with place.running():
        wishes = [place.tell(OpenCounter(counter_id=str(number), label="a")) for number in range(10)]
        outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    refusals = [one.code for one in outcomes if isinstance(one, Refused)]
    assert refusals == ["PROJECT_ALIAS_TAKEN"] * 9


async def test_policy_view_ticker_and_worker_do_their_part(place: Place) -> None:
    async def is_greeted() -> bool:
        return await place.value("greeted-1") == 1

    async def has_ticked() -> bool:
        return await place.value("clock") > 2

    async def is_mirrored() -> bool:
        return await place.commits("mirror-1") == 1

    async with place.running():
        await place.tell(OpenCounter(counter_id="1", label="a"))
        await eventually(is_mirrored)
        await eventually(is_greeted)
        await eventually(has_ticked)
        await place.tell(RaiseCounter(counter_id="1", by=9))
        await eventually(place.is_level)
        assert (await place.live_totals())["counter-1"] == (1, 9)


async def test_a_reaction_that_ran_at_once_is_repeated_harmlessly_by_the_follower(place: Place) -> None:
    async def has_passed() -> bool:
        reached = {"_id": "reactions-to-counters", "sequence": {"$gte": 1}}
        return await place.database["followers"].count_documents(reached) == 1

    async with place.running(replace(declare(), tickers=())):
        await place.tell(OpenCounter(counter_id="1", label="a"))
        await eventually(has_passed)
        assert await place.commits("mirror-1") == 1


async def test_a_reaction_that_begins_a_stream_is_recorded_with_what_it_follows_from(place: Place) -> None:
    begun = replace(mirrors, decider=replace(mirrors.decider, creates=(MirrorCounter,)))
    async with place.running(replace(declare(), categories=(counters, begun), tickers=())):
        await place.tell(OpenCounter(counter_id="1", label="a"))
        assert await place.commits("mirror-1") == 1


async def test_a_replica_that_died_right_after_the_commit_has_its_reactions_made_up(place: Place) -> None:
    async def is_mirrored() -> bool:
        return await place.commits("mirror-1") == 1

    deaf = replace(declare(), policies={})
    async with place.running(deaf):
        await place.tell(OpenCounter(counter_id="1", label="a"))
    assert await place.commits("mirror-1") == 0
    async with place.running():
        await eventually(is_mirrored)


async def test_when_the_leader_is_killed_another_leads(place: Place) -> None:
    environment = {
        "HEADRACE_MONGODB_URL": place.settings.mongodb_url,
        "HEADRACE_NATS_URL": place.settings.nats_url,
        "HEADRACE_MASTER_KEY": base64.b64encode(place.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": place.settings.database_prefix,
    }
    command = (sys.executable, "-m", "tests.integration.toy_process")
    health = {name: ports.free_port() for name in ("one", "two")}
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
            ready = [await asyncio.to_thread(ports.http_answers, port, "/readyz") for port in health.values()]
            return all(ready) and await place.leader() in processes

        await eventually(both_are_ready_and_one_leads, within=60)
        first = await place.leader()
        processes[first].kill()
        (second,) = processes.keys() - {first}

        async def the_other_leads() -> bool:
            return await place.leader() == second

        began = perf_counter()
        await eventually(the_other_leads, within=20)
        print(f"another replica leads after {perf_counter() - began:.2f} s")  # noqa: T201

        async def taken() -> bool:
            """What the killed one was writing is locked until the database gives that up: told again, done once."""
            try:
                await place.tell(RaiseCounter(counter_id="1", by=9), "told-again")
            except Refused as refused:
                if refused.code not in ("SERVICE_TIMEOUT", "SERVICE_UNAVAILABLE"):
                    raise
                return False
            return True

        await eventually(taken, within=30)
        await eventually(place.is_level)
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_a_stop_finishes_commands_in_flight_in_time(place: Place) -> None:
    stop = asyncio.Event()
    replica = asyncio.ensure_future(place.replica(1, stop))
    await eventually(place.answers)
    asked = [asyncio.create_task(place.tell(RaiseCounter(counter_id=str(one % 7)), f"c{one}")) for one in range(60)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    async with asyncio.timeout(10):
        await replica
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    refused = {one.code for one in outcomes if isinstance(one, Refused)}
    assert refused <= {"SERVICE_UNAVAILABLE"}
    done = sum(isinstance(one, Done) for one in outcomes)
    assert await place.database["commits"].count_documents({"_id": {"$regex": r"^c\d+$"}}) == done


def running(coroutine: str) -> int:
    return sum(getattr(task.get_coro(), "__qualname__", "") == coroutine for task in asyncio.all_tasks())


async def test_a_replica_that_is_stopped_at_any_moment_of_its_start_leaves_nothing_behind(place: Place) -> None:
    for moment in range(25):
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(moment * 0.005, stop.set)
        await place.replica(1, stop)
    connections = running("Client._read_loop")
    assert (connections, running("lead"), running("pulse")) == (1, 0, 0)  # that of the test itself
    gc.collect()  # a socket that nobody closed fails the test


def raise_closed(recorded: Recorded[Any]) -> list[Command]:
    """Refused each time: a closed counter cannot be raised."""
    closed = isinstance(recorded.event, CounterClosed)
    return [RaiseCounter(counter_id=recorded.stream.removeprefix("counter-"))] if closed else []


async def test_a_refused_reaction_is_counted_once(place: Place) -> None:
    port = ports.free_port()
    service = replace(declare(), tickers=(), policies={"counters": raise_closed})
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(service, replace(place.settings, health_port=port), stop))

    async def refused() -> str:
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        return next(line for line in metrics.splitlines() if line.startswith("headrace_reactions_refused_total"))

    async def is_followed() -> bool:
        position = await place.database["followers"].find_one({"_id": "reactions-to-counters"})
        return position is not None and position["sequence"] == 3

    try:
        await eventually(place.answers)
        assert (await refused()).endswith(" 0.0")
        for command in (OpenCounter(counter_id="1", label="a"), CloseCounter(counter_id="1")):
            await place.tell(command)
        await eventually(is_followed)
        assert (await refused()).endswith(" 1.0")
    finally:
        stop.set()
        await running


# ---- migration and rebuilding


async def test_migrating_twice_is_harmless(place: Place) -> None:
    async with place.running():
        await place.tell(RaiseCounter(counter_id="1", by=5))
        again = await place.migrate(declare())
        assert await place.value("1") == 5
    assert [line for line in again if "rows" in line or "made" in line] == []


async def test_a_list_in_order_reads_no_more_than_it_shows(place: Place) -> None:
    streams = Streams(MongoStore(place.database, MemoryVault()))
    raising = [RaiseCounter(counter_id=str(number), by=number + 10) for number in range(300)]
    await asyncio.gather(*(streams.handle(counters, one, cause()) for one in raising))
    rows = Rows[CounterView](place.database["streams"], CounterView, "counter_v1", "counter-")
    await place.database.command("profile", 2)
    top = await rows.find({}, [("value", -1)], limit=3)
    await place.database.command("profile", 0)
    assert [row.value for row in top] == [309, 308, 307]
    seen = await place.database["system.profile"].find_one({"op": "query", "command.find": "streams"})
    assert seen is not None
    assert seen["docsExamined"] == 3


async def test_an_index_with_other_settings_is_made_anew(place: Place) -> None:
    await place.database["streams"].drop_indexes()
    await place.database["streams"].create_index([("counter_v1.label", 1)], sparse=True)
    await place.migrate(declare())
    index = (await place.database["streams"].index_information())["counter_v1.label_1"]
    assert "partialFilterExpression" in index


async def test_copies_of_a_document_are_removed_when_their_index_becomes_unique(place: Place) -> None:
    pieces = place.database["pieces"]
    await pieces.create_index([("file", 1), ("offset", 1)])
    copy = {"file": "a", "offset": 0, "content": b"x"}
    await pieces.insert_many([{**copy}, {**copy}, {**copy, "offset": 1}, {**copy, "file": "b"}])
    await place.migrate(replace(declare(), unique_indexes={"pieces": ("file", "offset")}))
    assert sorted([(one["file"], one["offset"]) async for one in pieces.find({})]) == [("a", 0), ("a", 1), ("b", 0)]
    with pytest.raises(DuplicateKeyError):
        await pieces.insert_one({**copy})


async def test_two_migrations_at_once_are_harmless(settings: Settings, place: Place) -> None:
    await asyncio.gather(place.migrate(declare_next()), place.migrate(declare_next()))
    assert await pending(declare_next(), place.database, place.bus) is None


async def test_a_raised_row_version_has_the_rows_built_anew(place: Place) -> None:
    async with place.running():
        await place.tell(OpenCounter(counter_id="1", label="a", owner="Ivan"))
        await place.tell(RaiseCounter(counter_id="1", by=5))
        await place.tell(OpenCounter(counter_id="2", label="b"))
        await place.tell(CloseCounter(counter_id="2"))
    assert await pending(declare_next(), place.database, place.bus) is not None
    await place.migrate(declare_next())
    assert await pending(declare_next(), place.database, place.bus) is None
    async with place.running(declare_next()):
        assert await place.ask("1") == CounterView(label="a", owner="Ivan", value=10)
        with pytest.raises(Refused, match="NOT_FOUND"):
            await place.ask("2")
        assert (await place.tell(RaiseCounter(counter_id="1"))).row["value"] == 12


async def test_what_the_older_release_writes_after_the_migration_is_in_the_new_rows(place: Place) -> None:
    async with place.running():
        await place.tell(OpenCounter(counter_id="1", label="a"))
        await place.migrate(declare_next())
        await place.tell(RaiseCounter(counter_id="1", by=5))
        await place.tell(OpenCounter(counter_id="2", label="b"))
        await place.tell(RaiseCounter(counter_id="2", by=3))
    async with place.running(declare_next()):

        async def complete() -> bool:
            return [await place.value("1"), await place.value("2")] == [10, 6]

        await eventually(complete)


async def test_a_row_that_the_older_release_wrote_is_read_in_the_new_version_at_once(place: Place) -> None:
    await place.migrate(declare_next())
    streams = Streams(MongoStore(place.database, MemoryVault()))
    await streams.handle(counters, OpenCounter(counter_id="1", label="a"), cause())
    await streams.handle(counters, RaiseCounter(counter_id="1", by=5), cause())
    category = declare_next().categories[0]
    complete = partial(complete_row, place.database, category, MemoryVault())
    completion = Completion(category.written_field, category.row_version, complete)
    rows = Rows[CounterView](
        place.database["streams"], CounterView, category.row_field, "counter-", completion=completion
    )
    assert await rows.get("counter-1") == CounterView(label="a", value=10)
    assert await rows.get("counter-2") is None


async def test_rows_of_the_older_release_are_completed_while_it_leads(place: Place) -> None:
    async with place.running(replicas=1):
        await place.migrate(declare_next())

        async def led() -> bool:
            return await place.leader() != ""

        await eventually(led)
        async with place.running(declare_next(), replicas=1):
            streams = Streams(MongoStore(place.database, MemoryVault()))
            await streams.handle(counters, RaiseCounter(counter_id="1", by=5), cause())

            async def complete() -> bool:
                head = await place.database["streams"].find_one({"_id": "counter-1"})
                return bool(head and head.get("counter_v2", {}).get("value") == 10)

            await eventually(complete)


async def test_the_row_of_the_release_before_is_written_beside_the_present_one(place: Place) -> None:
    await place.migrate(declare_next())
    former = FormerRow[CounterView](1, lambda row: row.but(value=row.value // 2))
    category = replace(declare_next().categories[0], former=former)
    streams = Streams(MongoStore(place.database, MemoryVault()))
    earlier = Rows[CounterView](place.database["streams"], CounterView, "counter_v1", "counter-")
    await streams.handle(category, OpenCounter(counter_id="1", label="a"), cause())
    await streams.handle(category, RaiseCounter(counter_id="1", by=5), cause())
    assert await earlier.get("counter-1") == CounterView(label="a", value=5)
    await streams.handle(category, CloseCounter(counter_id="1"), cause())
    assert await earlier.get("counter-1") is None


async def test_a_stream_that_a_later_release_has_written_to_is_not_guessed(place: Place) -> None:
    async with place.running():
        await place.tell(OpenCounter(counter_id="1", label="a"))
    later = {"$set": {"events.0.name": "CounterPainted"}}
    await place.database["commits"].update_one({"stream": "counter-1"}, later)
    async with place.running(replicas=1):

        async def led() -> bool:
            return await place.leader() != ""

        await eventually(led)
        with pytest.raises(Refused, match="SERVICE_UNAVAILABLE"):
            await place.tell(RaiseCounter(counter_id="1"))


async def test_looking_for_rows_of_an_older_release_reads_nothing_where_there_are_none(place: Place) -> None:
    async with place.running():
        await place.tell(OpenCounter(counter_id="1", label="a"))
    behind = place.database["streams"].find({"counter_row_version": {"$lt": 1}})
    seen = (await behind.explain())["executionStats"]
    assert (seen["totalDocsExamined"], seen["totalKeysExamined"]) == (0, 0)


async def while_writing(place: Place, rebuild: Callable[[], Awaitable[Any]]) -> None:
    """Rebuild again and again while eight writers raise, relabel and close."""

    async def write(writer: int) -> None:
        for number in range(10):
            counter_id = f"{writer}-{number % 5}"
            await place.tell(RaiseCounter(counter_id=counter_id, by=number % 3 + 1))
            await place.tell(RelabelCounter(counter_id=counter_id, label=f"{counter_id}-{number}"))

    writing = asyncio.gather(*(write(writer) for writer in range(8)))
    while not writing.done():
        await rebuild()
    await writing
    await asyncio.gather(*(place.tell(CloseCounter(counter_id=f"{writer}-0")) for writer in range(8)))


async def rows_of(place: Place) -> dict[str, Any]:
    return {one["_id"]: one["counter_v1"] async for one in place.database["streams"].find({"_id": {"$regex": "^c"}})}


async def test_rows_rebuilt_under_writes_are_the_rows_that_the_writers_wrote(place: Place) -> None:
    vault = vault_of(place.database, place.settings)
    async with place.running(replace(declare(), tickers=())):
        await while_writing(place, lambda: rebuild_rows(place.database, counters, vault))
        written = await rows_of(place)
        assert await rebuild_rows(place.database, counters, vault) == 40
        assert await rows_of(place) == written
    assert [row for name, row in written.items() if name.endswith("-0")] == [None] * 8


async def test_a_view_rebuilt_under_writes_is_the_view_that_its_follower_kept(place: Place) -> None:
    async with place.running(replace(declare(), tickers=())):
        await while_writing(place, lambda: rebuild_view(place.database, totals, place.bus))
        await eventually(place.is_level)
        assert await rebuild_view(place.database, totals, place.bus) == 40
        await eventually(place.is_level)
        await place.tell(RaiseCounter(counter_id="after"))
        await eventually(place.is_level)


async def test_a_rebuilt_view_has_the_indexes_that_are_declared(place: Place) -> None:
    async with place.running(replace(declare(), tickers=())):
        await place.tell(RaiseCounter(counter_id="1", by=5))
        await rebuild_view(place.database, totals, place.bus)
    assert await differing_indexes(place.database, list(indexes_of(declare()))) == []
    by_total = place.database["view_totals_v1"].find({}).sort("row.total", -1).limit(1)
    assert (await by_total.explain())["queryPlanner"]["winningPlan"]["inputStage"]["inputStage"]["stage"] == "IXSCAN"


async def test_a_lost_row_comes_back_by_rebuilding(place: Place) -> None:
    async with place.running(replace(declare(), tickers=())):
        await place.tell(RaiseCounter(counter_id="1", by=5))
        await place.database["streams"].update_one({"_id": "counter-1"}, {"$unset": {"counter_v1": ""}})
        assert await place.value("1") == 0
        await rebuild_rows(place.database, counters)
        assert await place.value("1") == 5


async def test_rebuilding_keeps_up_with_reading_the_log(place: Place) -> None:
    """Prints what it costs; the numbers say nothing on a busy machine, so they are not judged here."""
    async with place.running(replace(declare(), tickers=())):
        streams = Streams(MongoStore(place.database, MemoryVault()))
        await asyncio.gather(
            *(streams.handle(counters, RaiseCounter(counter_id=str(one % 200), by=3), cause()) for one in range(1000))
        )
        began = perf_counter()
        events = [len(await from_document(one, None)) async for one in place.database["commits"].find({})]
        bare = sum(events) / (perf_counter() - began)
        began = perf_counter()
        await rebuild_rows(place.database, counters)
        rows = sum(events) / (perf_counter() - began)
        await eventually(place.is_level, within=20)
        began = perf_counter()
        await rebuild_view(place.database, totals, place.bus)
        view = sum(events) / (perf_counter() - began)
    print(f"events/s: cursor and decoding {bare:.0f}, rows {rows:.0f}, view {view:.0f}")  # noqa: T201
    assert sum(events) == 3000
