"""Failures and personal data in the MongoDB event store."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore import (
    OutcomeUnknown,
    StoreUnavailable,
)
from libs.eventstore.mongo import MongoEventStore, create_schema
from libs.eventstore.repository import CommandHandler
from libs.security.envelope_encryption import KeyVault, MasterKeys
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.settings import Settings
from tests.support.counters.commits import make_commit, make_metadata
from tests.support.counters.counters import (
    CounterOpened,
    CounterRaised,
    RaiseCounter,
)
from tests.support.counters.domain import counters
from tests.support.infrastructure.servers import running_servers
from tests.support.memory_key_vault import MemoryKeyVault
from tests.support.waiting import eventually


@pytest.fixture
def collected_sockets() -> Iterator[None]:
    """Collect garbage after the test: the MongoDB driver leaves sockets open when the server dies during a connect."""
    yield
    gc.collect()


ignores_socket_warnings = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


async def test_a_value_that_cannot_be_stored_fails_only_its_own_command(database: AsyncDatabase[Document]) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    attempts = [
        make_commit("counter-1"),
        make_commit("counter-2", events=(CounterRaised(by=2**70),)),
        make_commit("counter-3"),
    ]
    outcomes = await asyncio.gather(*map(store.append, attempts), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), OverflowError, type(None)]


async def test_personal_fields_are_stored_encrypted_and_read_decrypted(
    database: AsyncDatabase[Document], settings: Settings
) -> None:
    store = MongoEventStore(database, create_vault(database, settings))
    await store.append(make_commit(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    document = await database["commits"].find_one({})
    assert document is not None
    assert document["events"][0]["data"]["label"] == "a"
    assert document["events"][0]["data"]["owner"].startswith("s1.")
    assert "Ivan Petrov" not in str(document)
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="Ivan Petrov")


async def test_shredded_personal_fields_read_as_empty(database: AsyncDatabase[Document], settings: Settings) -> None:
    vault = create_vault(database, settings)
    store = MongoEventStore(database, vault)
    await store.append(make_commit(events=(CounterOpened(label="a", owner="Ivan Petrov"),)))
    await vault.shred("counter-1")
    (recorded,) = await store.read("counter-1")
    assert recorded.event == CounterOpened(label="a", owner="")


@ignores_socket_warnings
@pytest.mark.usefixtures("collected_sockets")
async def test_no_acknowledged_append_is_lost_when_the_database_is_killed(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    failures: list[BaseException] = []

    async def write(handler: CommandHandler, writer: int) -> None:
        while len(acknowledged) < 900:
            metadata = make_metadata()
            try:
                await handler.handle(counters, RaiseCounter(counter_id=str(writer)), metadata)
                acknowledged.append(metadata.command_id)
            except (StoreUnavailable, OutcomeUnknown) as failure:
                failures.append(failure)

    async def crash(servers: Any) -> None:
        await eventually(lambda: len(acknowledged) >= 300)
        await asyncio.to_thread(servers.mongod.kill)
        await asyncio.to_thread(servers.mongod.start)

    with running_servers(tmp_path, journaled=True) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with create_mongo_client(settings, "test") as client, asyncio.timeout(40), asyncio.TaskGroup() as group:
            database = get_database(client, settings, "counters")
            await create_schema(database)
            handler = CommandHandler(MongoEventStore(database, MemoryKeyVault()))
            group.create_task(crash(servers))
            writers = [group.create_task(write(handler, writer)) for writer in range(16)]
            await asyncio.wait(writers)
            commits = [commit["_id"] async for commit in database["commits"].find({})]
    assert set(acknowledged) <= set(commits)
    assert len(commits) == len(set(commits))
    assert len(commits) - len(acknowledged) <= len(failures)


@ignores_socket_warnings
@pytest.mark.usefixtures("collected_sockets")
async def test_a_database_outage_is_reported_within_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.eventstore.group_commit.TRANSACTION_TIMEOUT_SECONDS", 1.0)
    with running_servers(tmp_path) as servers:
        settings = Settings(mongodb_url=servers.mongodb_url)
        async with create_mongo_client(settings, "test") as client:
            database = get_database(client, settings, "counters")
            await create_schema(database)
            store = MongoEventStore(database, KeyVault(database, MasterKeys.from_keys([bytes(32)])))
            await store.append(make_commit())
            servers.mongod.kill()
            async with asyncio.timeout(10):
                with pytest.raises(StoreUnavailable):
                    await store.append(make_commit(expected=1))
                with pytest.raises(StoreUnavailable):
                    await store.read("counter-1")
