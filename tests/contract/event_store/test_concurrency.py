"""Several processes that write to one MongoDB event store."""

import asyncio
from collections import Counter

from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore.decider import Reserve
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from tests.support.counters.commits import make_commit, make_metadata
from tests.support.counters.counters import (
    CounterView,
    OpenCounter,
    RaiseCounter,
)
from tests.support.counters.domain import counters
from tests.support.memory_key_vault import MemoryKeyVault


async def test_two_processes_record_the_same_command_once(database: AsyncDatabase[Document]) -> None:
    processes = [CommandHandler(MongoEventStore(database, MemoryKeyVault())) for _ in range(2)]
    same = make_metadata("same", repeatable=True)
    attempts = [handler.handle(counters, OpenCounter(counter_id="1", label="a"), same) for handler in processes * 5]
    results = await asyncio.gather(*attempts)
    assert {(result.version, result.row) for result in results} == {(1, CounterView(label="a"))}
    assert await database["commits"].count_documents({}) == 1


async def test_two_racing_processes_give_each_name_one_owner(database: AsyncDatabase[Document]) -> None:
    processes = [MongoEventStore(database, MemoryKeyVault()) for _ in range(2)]
    attempts = [
        store.append(make_commit(f"counter-{number}-{name}", claims=(Reserve(f"label:{name}", "PROJECT_ALIAS_TAKEN"),)))
        for name in range(10)
        for number, store in enumerate(processes)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 10, RequestRejected: 10}
    owners = [claim["stream"] async for claim in database["claims"].find({})]
    assert sorted(owners) == sorted(await database["commits"].distinct("stream"))


async def test_concurrent_writers_lose_and_duplicate_nothing(database: AsyncDatabase[Document]) -> None:
    acknowledged: list[str] = []

    async def write(handler: CommandHandler, writer: int) -> None:
        for number in range(12):
            metadata = make_metadata()
            await handler.handle(counters, RaiseCounter(counter_id=str((writer + number) % 5)), metadata)
            acknowledged.append(metadata.command_id)

    processes = [CommandHandler(MongoEventStore(database, MemoryKeyVault())) for _ in range(2)]
    await asyncio.gather(*(write(handler, writer) for handler in processes for writer in range(32)))
    commits = [(commit["stream"], commit["version"], commit["_id"]) async for commit in database["commits"].find({})]
    heads = {head["_id"]: (head["version"], head["counter_v1"]["value"]) async for head in database["streams"].find({})}
    lengths = Counter(stream for stream, _, _ in commits)
    assert sorted(command for _, _, command in commits) == sorted(acknowledged)
    assert {(stream, version) for stream, version, _ in commits} == {
        (stream, version) for stream, length in lengths.items() for version in range(1, length + 1)
    }
    assert heads == {stream: (length, length) for stream, length in lengths.items()}


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
