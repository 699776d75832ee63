"""The vault on a real MongoDB: races, erasure across processes, rotation of the master key."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from libs.security.erased import Erased
from libs.security.sealing import MasterKeyMissing, MasterKeys, SealBroken, Vault
from tests.support.servers import servers_in

Database = AsyncDatabase[dict[str, Any]]
OLD, NEW = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    with servers_in(tmp_path_factory.mktemp("servers")) as servers:
        async with AsyncMongoClient[dict[str, Any]](servers.mongodb_url) as client:
            yield client


@pytest.fixture
async def database(client: AsyncMongoClient[dict[str, Any]]) -> AsyncIterator[Database]:
    database = client[f"vault-{uuid4().hex}"]
    yield database
    await client.drop_database(database)


async def test_another_process_opens_what_one_sealed(database: Database) -> None:
    sealed = await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    assert await Vault(database, MasterKeys.of([OLD])).open("secret-1", sealed) == "value"


async def test_many_are_opened_at_once_without_those_that_were_erased(database: Database) -> None:
    first, second = Vault(database, MasterKeys.of([OLD])), Vault(database, MasterKeys.of([OLD]))
    sealed = {subject: await first.seal(subject, f"value of {subject}") for subject in ("a", "b", "c")}
    await second.open("a", sealed["a"])
    await first.erase("b")
    assert await second.open_all(sealed) == {"a": "value of a", "c": "value of c"}
    with pytest.raises(SealBroken):
        await second.open_all({"a": sealed["c"]})


async def test_first_users_at_the_same_moment_agree_on_one_data_key(database: Database) -> None:
    vaults = [Vault(database, MasterKeys.of([OLD])) for _ in range(32)]
    sealed = await asyncio.gather(*(vault.seal("secret-1", "value") for vault in vaults))
    assert await database["data_keys"].count_documents({}) == 1
    reader = Vault(database, MasterKeys.of([OLD]))
    assert {await reader.open("secret-1", one) for one in sealed} == {"value"}


async def test_a_data_key_lies_there_wrapped_only(database: Database) -> None:
    await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    stored = await database["data_keys"].find_one({"_id": "secret-1"})
    assert stored is not None
    assert stored.keys() == {"_id", "wrapped", "kid"}
    assert stored["kid"] == MasterKeys.of([OLD]).current
    assert len(stored["wrapped"]) == 12 + 32 + 16


async def test_opening_makes_no_data_key(database: Database) -> None:
    sealed = await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    with pytest.raises(Erased):
        await Vault(database, MasterKeys.of([OLD])).open("secret-2", sealed)
    assert await database["data_keys"].count_documents({}) == 1


async def test_a_wrapped_key_moved_to_another_subject_is_refused(database: Database) -> None:
    sealed = await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    stored = await database["data_keys"].find_one({"_id": "secret-1"})
    assert stored is not None
    await database["data_keys"].insert_one(stored | {"_id": "secret-2"})
    with pytest.raises(SealBroken):
        await Vault(database, MasterKeys.of([OLD])).open("secret-2", sealed)


async def test_erasing_is_final_for_the_process_that_does_it(database: Database) -> None:
    vault = Vault(database, MasterKeys.of([OLD]))
    sealed = await vault.seal("user-1", "value")
    await vault.erase("user-1")
    await vault.erase("user-1")
    with pytest.raises(Erased):
        await vault.open("user-1", sealed)


async def test_an_erasure_reaches_other_processes_when_their_memory_is_over(database: Database) -> None:
    now = 0.0
    other = Vault(database, MasterKeys.of([OLD]), cache_seconds=60, clock=lambda: now)
    sealed = await other.seal("user-1", "value")
    await Vault(database, MasterKeys.of([OLD])).erase("user-1")
    now = 60.0
    assert await other.open("user-1", sealed) == "value"
    now = 60.1
    with pytest.raises(Erased):
        await other.open("user-1", sealed)


async def test_what_was_sealed_before_an_erasure_stays_closed_after_new_use(database: Database) -> None:
    vault = Vault(database, MasterKeys.of([OLD]))
    sealed = await vault.seal("user-1", "old")
    await vault.erase("user-1")
    await vault.seal("user-1", "new")
    with pytest.raises(SealBroken):
        await vault.open("user-1", sealed)


async def test_only_the_latest_used_keys_are_remembered(database: Database) -> None:
    vault = Vault(database, MasterKeys.of([OLD]), cache_size=2)
    first, second = await vault.seal("a", "1"), await vault.seal("b", "2")
    assert await vault.open("a", first) == "1"
    await vault.seal("c", "3")
    await database["data_keys"].delete_many({})
    assert await vault.open("a", first) == "1"
    with pytest.raises(Erased):
        await vault.open("b", second)


async def test_after_a_rotation_the_old_master_key_is_needed_no_more(database: Database) -> None:
    old = Vault(database, MasterKeys.of([OLD]))
    sealed = [await old.seal(f"secret-{number}", "value") for number in range(5)]
    assert await Vault(database, MasterKeys.of([NEW, OLD])).rewrap() == 5
    new = Vault(database, MasterKeys.of([NEW]))
    assert [await new.open(f"secret-{number}", one) for number, one in enumerate(sealed)] == ["value"] * 5


async def test_rotations_at_the_same_moment_wrap_each_key_once(database: Database) -> None:
    old = Vault(database, MasterKeys.of([OLD]))
    sealed = [await old.seal(f"secret-{number}", "value") for number in range(20)]
    rotating = [Vault(database, MasterKeys.of([NEW, OLD])) for _ in range(3)]
    assert sum(await asyncio.gather(*(vault.rewrap() for vault in rotating))) == 20
    assert await rotating[0].rewrap() == 0
    assert await Vault(database, MasterKeys.of([NEW])).open("secret-7", sealed[7]) == "value"


async def test_an_interrupted_rotation_goes_on_where_it_stopped(database: Database) -> None:
    await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    await Vault(database, MasterKeys.of([NEW])).seal("secret-2", "value")
    assert await Vault(database, MasterKeys.of([NEW, OLD])).rewrap() == 1


async def test_without_its_master_key_a_data_key_names_what_is_missing(database: Database) -> None:
    sealed = await Vault(database, MasterKeys.of([OLD])).seal("secret-1", "value")
    stranger = Vault(database, MasterKeys.of([NEW]))
    with pytest.raises(MasterKeyMissing, match=MasterKeys.of([OLD]).current):
        await stranger.open("secret-1", sealed)
    with pytest.raises(MasterKeyMissing, match=MasterKeys.of([OLD]).current):
        await stranger.rewrap()
