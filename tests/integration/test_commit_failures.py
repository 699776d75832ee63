"""Failing transactions of the event store: lost answers, hanging servers, a spoilt batch, killed processes."""

import asyncio
import sys
from asyncio import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from libs.connections import Document, database_of, mongo
from libs.eventstore import OutcomeUnknown, Unavailable
from libs.eventstore.committer import MAX_INDIVIDUAL
from libs.eventstore.mongo import MongoStore, prepare_database
from libs.security.sealing import MemoryVault
from libs.settings import Settings
from tests.support.failpoints import ANSWER_LOST, FAULTY, HANGING, failing, mongod_with_failpoints
from tests.toy.counters import CounterRaised
from tests.toy.decisions import decision

KILLED = """
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
class Faulty:
    """A store whose database can be made to fail, and a client that is not affected."""

    database: AsyncDatabase[Document]
    store: MongoStore
    control: AsyncMongoClient[Document]

    async def append(self, number: int) -> list[BaseException | None]:
        appends = [self.store.append(decision(f"counter-{one}")) for one in range(number)]
        return await asyncio.gather(*appends, return_exceptions=True)


@pytest.fixture(scope="module")
def faulty_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with mongod_with_failpoints(tmp_path_factory.mktemp("faulty")) as url:
        yield url


@pytest.fixture
async def faulty(faulty_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faulty]:
    monkeypatch.setattr("libs.eventstore.committer.PATIENCE", 1.0)
    monkeypatch.setattr("libs.eventstore.committer.LOOKUP_TIMEOUT", 1.0)
    here = Settings(mongodb_url=faulty_url, database_prefix=settings.database_prefix)
    async with mongo(here, FAULTY.removeprefix("headrace-")) as client, mongo(here, "control") as control:
        database = database_of(client, here, "counters")
        await prepare_database(database)
        yield Faulty(database, MongoStore(database, MemoryVault()), control)
        await control.drop_database(database.name)


async def test_commits_whose_answers_are_lost_are_looked_up_together(faulty: Faulty) -> None:
    async with failing(faulty.control, ["commitTransaction"], **ANSWER_LOST):
        await faulty.database.command("profile", 2)
        outcomes = await faulty.append(50)
        await faulty.database.command("profile", 0)
    assert Counter(map(type, outcomes)) == {type(None): 50}
    lookups = {"op": "query", "command.find": "commits"}
    batches = 2  # the first append is written alone, the others together
    assert await faulty.database["system.profile"].count_documents(lookups) <= batches
    assert await faulty.database["commits"].count_documents({}) == 50


async def test_a_server_that_hangs_in_the_commit_and_in_the_lookup_is_given_up_in_time(faulty: Faulty) -> None:
    await faulty.store.append(decision("counter-first"))  # the server itself looks for the session the first time
    async with failing(faulty.control, ["commitTransaction", "find"], **HANGING):
        async with asyncio.timeout(8):  # one lookup after the other would take 20 seconds
            outcomes = await faulty.append(20)
    assert Counter(map(type, outcomes)) == {OutcomeUnknown: 20}


async def test_a_command_that_spoils_its_batch_leaves_connections_for_others(faulty: Faulty) -> None:
    async def open_connections() -> int:
        return int((await faulty.control.admin.command("serverStatus"))["connections"]["current"])

    await faulty.store.append(decision("counter-first"))
    before = await open_connections()
    spoilt = decision("counter-spoilt", events=(CounterRaised(by=2**70),))
    spoiling = asyncio.create_task(faulty.store.append(spoilt))
    outcomes = await faulty.append(300)
    with pytest.raises(OverflowError):
        await spoiling
    assert Counter(map(type, outcomes)) == {type(None): 300}
    assert await open_connections() - before <= MAX_INDIVIDUAL


async def test_a_process_killed_within_a_transaction_delays_others_by_five_seconds_at_most(
    settings: Settings, mongo_client: AsyncMongoClient[Document]
) -> None:
    database = database_of(mongo_client, settings, "counters")
    await prepare_database(database)
    store = MongoStore(database, MemoryVault())
    await store.append(decision("counter-1"))
    arguments = ["-c", KILLED, settings.mongodb_url, database.name]
    other = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"locked\n"
    other.kill()
    await other.wait()
    began = monotonic()
    await store.append(decision("counter-1", 1))
    assert monotonic() - began < 5


async def test_a_stream_that_stays_locked_is_refused_as_unavailable(faulty: Faulty) -> None:
    await faulty.append(1)
    async with faulty.control.start_session() as session, await session.start_transaction():
        streams = faulty.control[faulty.database.name]["streams"]
        await streams.update_one({"_id": "counter-0"}, {"$set": {"version": 7}}, session=session)
        with pytest.raises(Unavailable):
            await faulty.store.append(decision("counter-0", 1))
        await session.abort_transaction()
    await faulty.store.append(decision("counter-0", 1))
