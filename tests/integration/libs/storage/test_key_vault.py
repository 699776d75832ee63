"""The key vault on a real MongoDB: concurrency, key shredding across processes, master key rotation."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from libs.security.envelope_encryption import DecryptionFailed, KeyVault, MasterKeyMissing, MasterKeys
from libs.security.erased_keys import KeyErased
from tests.support.infrastructure.servers import running_servers

Database = AsyncDatabase[dict[str, Any]]
OLD_KEY, NEW_KEY = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    with running_servers(tmp_path_factory.mktemp("servers")) as servers:
        async with AsyncMongoClient[dict[str, Any]](servers.mongodb_url) as client:
            yield client


@pytest.fixture
async def database(client: AsyncMongoClient[dict[str, Any]]) -> AsyncIterator[Database]:
    database = client[f"vault-{uuid4().hex}"]
    yield database
    await client.drop_database(database)


async def test_another_process_decrypts_an_encrypted_value(database: Database) -> None:
    sealed = await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    assert await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).decrypt("secret-1", sealed) == "value"


async def test_decrypting_many_values_omits_erased_ones(database: Database) -> None:
    first, second = (
        KeyVault(database, MasterKeys.from_keys([OLD_KEY])),
        KeyVault(database, MasterKeys.from_keys([OLD_KEY])),
    )
    sealed = {subject: await first.encrypt(subject, f"value of {subject}") for subject in ("a", "b", "c")}
    await second.decrypt("a", sealed["a"])
    await first.shred("b")
    assert await second.decrypt_many(sealed) == {"a": "value of a", "c": "value of c"}
    with pytest.raises(DecryptionFailed):
        await second.decrypt_many({"a": sealed["c"]})


async def test_concurrent_first_encryptions_create_one_data_key(database: Database) -> None:
    vaults = [KeyVault(database, MasterKeys.from_keys([OLD_KEY])) for _ in range(32)]
    sealed = await asyncio.gather(*(vault.encrypt("secret-1", "value") for vault in vaults))
    assert await database["data_keys"].count_documents({}) == 1
    reader = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    assert {await reader.decrypt("secret-1", value) for value in sealed} == {"value"}


async def test_a_data_key_is_stored_wrapped(database: Database) -> None:
    await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    stored = await database["data_keys"].find_one({"_id": "secret-1"})
    assert stored is not None
    assert stored.keys() == {"_id", "wrapped", "kid"}
    assert stored["kid"] == MasterKeys.from_keys([OLD_KEY]).current
    assert len(stored["wrapped"]) == 12 + 32 + 16


async def test_decrypting_creates_no_data_key(database: Database) -> None:
    sealed = await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    with pytest.raises(KeyErased):
        await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).decrypt("secret-2", sealed)
    assert await database["data_keys"].count_documents({}) == 1


async def test_a_data_key_copied_to_another_subject_is_rejected(database: Database) -> None:
    sealed = await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    stored = await database["data_keys"].find_one({"_id": "secret-1"})
    assert stored is not None
    await database["data_keys"].insert_one(stored | {"_id": "secret-2"})
    with pytest.raises(DecryptionFailed):
        await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).decrypt("secret-2", sealed)


async def test_a_shredded_key_cannot_be_used_by_the_same_process(database: Database) -> None:
    vault = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    sealed = await vault.encrypt("user-1", "value")
    await vault.shred("user-1")
    await vault.shred("user-1")
    with pytest.raises(KeyErased):
        await vault.decrypt("user-1", sealed)


async def test_a_key_shredded_in_an_aborted_transaction_stays(database: Database) -> None:
    vault = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    sealed = await vault.encrypt("user-1", "value")
    async with database.client.start_session() as session:
        await session.start_transaction()
        await vault.shred("user-1", session=session)
        await session.abort_transaction()
    assert await vault.decrypt("user-1", sealed) == "value"


async def test_a_shredded_key_is_unusable_in_other_processes_after_the_cache_ttl(database: Database) -> None:
    now = 0.0
    other = KeyVault(database, MasterKeys.from_keys([OLD_KEY]), cache_seconds=60, clock=lambda: now)
    sealed = await other.encrypt("user-1", "value")
    await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).shred("user-1")
    now = 59.9
    assert await other.decrypt("user-1", sealed) == "value"
    now = 60.1
    with pytest.raises(KeyErased):
        await other.decrypt("user-1", sealed)


async def test_values_encrypted_before_shredding_stay_unreadable_after_new_use(database: Database) -> None:
    vault = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    sealed = await vault.encrypt("user-1", "old")
    await vault.shred("user-1")
    await vault.encrypt("user-1", "new")
    with pytest.raises(DecryptionFailed):
        await vault.decrypt("user-1", sealed)


async def test_only_the_most_recently_used_keys_are_cached(database: Database) -> None:
    vault = KeyVault(database, MasterKeys.from_keys([OLD_KEY]), cache_size=2)
    first, second = await vault.encrypt("a", "1"), await vault.encrypt("b", "2")
    assert await vault.decrypt("a", first) == "1"
    await vault.encrypt("c", "3")
    await database["data_keys"].delete_many({})
    assert await vault.decrypt("a", first) == "1"
    with pytest.raises(KeyErased):
        await vault.decrypt("b", second)


async def test_after_a_rotation_the_old_master_key_is_not_needed(database: Database) -> None:
    old = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    sealed = [await old.encrypt(f"secret-{number}", "value") for number in range(5)]
    assert await KeyVault(database, MasterKeys.from_keys([NEW_KEY, OLD_KEY])).rewrap() == 5
    new = KeyVault(database, MasterKeys.from_keys([NEW_KEY]))
    assert [await new.decrypt(f"secret-{number}", value) for number, value in enumerate(sealed)] == ["value"] * 5


async def test_concurrent_rotations_rewrap_each_key_once(database: Database) -> None:
    old = KeyVault(database, MasterKeys.from_keys([OLD_KEY]))
    sealed = [await old.encrypt(f"secret-{number}", "value") for number in range(20)]
    rotating = [KeyVault(database, MasterKeys.from_keys([NEW_KEY, OLD_KEY])) for _ in range(3)]
    assert sum(await asyncio.gather(*(vault.rewrap() for vault in rotating))) == 20
    assert await rotating[0].rewrap() == 0
    assert await KeyVault(database, MasterKeys.from_keys([NEW_KEY])).decrypt("secret-7", sealed[7]) == "value"


async def test_an_interrupted_rotation_continues_where_it_stopped(database: Database) -> None:
    await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    await KeyVault(database, MasterKeys.from_keys([NEW_KEY])).encrypt("secret-2", "value")
    assert await KeyVault(database, MasterKeys.from_keys([NEW_KEY, OLD_KEY])).rewrap() == 1


async def test_a_missing_master_key_is_named_in_the_error(database: Database) -> None:
    sealed = await KeyVault(database, MasterKeys.from_keys([OLD_KEY])).encrypt("secret-1", "value")
    stranger = KeyVault(database, MasterKeys.from_keys([NEW_KEY]))
    with pytest.raises(MasterKeyMissing, match=MasterKeys.from_keys([OLD_KEY]).current):
        await stranger.decrypt("secret-1", sealed)
    with pytest.raises(MasterKeyMissing, match=MasterKeys.from_keys([OLD_KEY]).current):
        await stranger.rewrap()
