"""Failing transactions of the event store: lost replies, hanging servers, a failing batch, killed processes."""

import asyncio
import sys
from asyncio import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore import OutcomeUnknown, StoreUnavailable, group_commit
from libs.eventstore.group_commit import MAX_INDIVIDUAL_TRANSACTIONS
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from tests.support.counters.commits import make_commit
from tests.support.counters.counters import CounterRaised
from tests.support.infrastructure.failpoints import (
    BLOCKED_CONNECTION,
    FAULTY_APP_NAME,
    LOST_RESPONSE,
    failing_commands,
    mongod_with_failpoints,
)
from tests.support.memory_key_vault import MemoryKeyVault

LOCK_HOLDER_SCRIPT = """
import asyncio, sys
from pymongo import AsyncMongoClient

async def main():
    client = AsyncMongoClient(sys.argv[1])
    session = client.start_session()
    await session.start_transaction()
    head = {"_id": "counter-1", "version": 1}
    await client[sys.argv[2]]["streams"].update_one(head, {"$set": {"version": 2}}, session=session)
    print("locked", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@dataclass(frozen=True)
class FaultyStore:
    """An event store whose client is subject to fail points. The client `control` is not."""

    database: AsyncDatabase[Document]
    store: MongoEventStore
    control: AsyncMongoClient[Document]

    async def append(self, number: int) -> list[BaseException | None]:
        appends = [self.store.append(make_commit(f"counter-{counter}")) for counter in range(number)]
        return await asyncio.gather(*appends, return_exceptions=True)


@pytest.fixture(scope="module")
def faulty_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with mongod_with_failpoints(tmp_path_factory.mktemp("faulty")) as url:
        yield url


def set_timeouts(monkeypatch: pytest.MonkeyPatch, *, transaction: float, lookup: float) -> None:
    monkeypatch.setattr(group_commit, "TRANSACTION_TIMEOUT_SECONDS", transaction)
    monkeypatch.setattr(group_commit, "LOOKUP_TIMEOUT_SECONDS", lookup)


@pytest.fixture
async def faulty_store(faulty_url: str, settings: Settings) -> AsyncIterator[FaultyStore]:
    own_settings = Settings(mongodb_url=faulty_url, database_prefix=settings.database_prefix)
    async with (
        create_mongo_client(own_settings, FAULTY_APP_NAME.removeprefix("headrace-")) as client,
        create_mongo_client(own_settings, "control") as control,
    ):
        database = get_database(client, own_settings, "counters")
        await create_schema(database)
        yield FaultyStore(database, MongoEventStore(database, MemoryKeyVault()), control)
        await control.drop_database(database.name)


async def test_commits_with_lost_replies_are_looked_up_batch_by_batch(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the driver retries each commit until the transaction times out; only then is its outcome looked up
    set_timeouts(monkeypatch, transaction=2.0, lookup=30.0)
    async with failing_commands(faulty_store.control, ["commitTransaction"], **LOST_RESPONSE):
        await faulty_store.database.command("profile", 2)
        outcomes = await faulty_store.append(50)
        await faulty_store.database.command("profile", 0)
    assert Counter(map(type, outcomes)) == {type(None): 50}
    operations = faulty_store.database["system.profile"]
    lookups = await operations.count_documents({"op": "query", "command.find": "commits"})
    batches = await operations.count_documents({"op": "insert", "command.insert": "commits"})
    assert 1 <= lookups <= batches <= 10
    assert await faulty_store.database["commits"].count_documents({}) == 50


async def test_a_server_that_hangs_in_commit_and_lookup_leads_to_outcome_unknown_in_time(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its first transaction the server queries the collection of sessions, which would trigger the fail point.
    await faulty_store.store.append(make_commit("counter-first"))
    set_timeouts(monkeypatch, transaction=1.0, lookup=1.0)
    async with failing_commands(faulty_store.control, ["commitTransaction", "find"], **BLOCKED_CONNECTION):
        async with asyncio.timeout(8):  # the outcomes are looked up in one query; one query each would take 20 seconds
            outcomes = await faulty_store.append(20)
    assert Counter(map(type, outcomes)) == {OutcomeUnknown: 20}


async def test_a_command_that_fails_its_batch_does_not_use_up_the_connections(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def open_connections() -> int:
        return int((await faulty_store.control.admin.command("serverStatus"))["connections"]["current"])

    await faulty_store.store.append(make_commit("counter-first"))
    set_timeouts(monkeypatch, transaction=60.0, lookup=30.0)  # 300 transactions take long on a busy machine
    before = await open_connections()
    failing_commit = make_commit("counter-spoilt", events=(CounterRaised(by=2**70),))
    failing_append = asyncio.create_task(faulty_store.store.append(failing_commit))
    outcomes = await faulty_store.append(300)
    with pytest.raises(OverflowError):
        await failing_append
    assert Counter(map(type, outcomes)) == {type(None): 300}
    assert await open_connections() - before <= MAX_INDIVIDUAL_TRANSACTIONS


async def test_a_process_killed_in_a_transaction_delays_other_appends_without_failing_them(
    settings: Settings, mongo_client: AsyncMongoClient[Document]
) -> None:
    database = get_database(mongo_client, settings, "counters")
    await create_schema(database)
    store = MongoEventStore(database, MemoryKeyVault())
    await store.append(make_commit("counter-1"))
    arguments = ["-c", LOCK_HOLDER_SCRIPT, settings.mongodb_url, database.name]
    other = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"locked\n"
    other.kill()
    await other.wait()
    # waits for the transaction of the killed process; would fail after TRANSACTION_TIMEOUT_SECONDS
    await store.append(make_commit("counter-1", 1))


async def test_appending_to_a_locked_stream_fails_as_unavailable(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await faulty_store.append(1)
    async with faulty_store.control.start_session() as session, await session.start_transaction():
        streams = faulty_store.control[faulty_store.database.name]["streams"]
        await streams.update_one({"_id": "counter-0"}, {"$set": {"version": 7}}, session=session)
        set_timeouts(monkeypatch, transaction=1.0, lookup=1.0)
        with pytest.raises(StoreUnavailable):
            await faulty_store.store.append(make_commit("counter-0", 1))
        await session.abort_transaction()
    monkeypatch.undo()
    await faulty_store.store.append(make_commit("counter-0", 1))
