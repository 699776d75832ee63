"""Envelope encryption with the in-memory key vault, and parsing of master keys."""

import hashlib

import pytest

from libs.security.envelope_encryption import (
    DecryptionFailed,
    Encryption,
    MasterKeyMissing,
    MasterKeys,
)
from libs.security.erased_keys import KeyErased
from tests.support.memory_key_vault import MemoryKeyVault

KEY = bytes(range(32))
OLDER = bytes(32)


@pytest.fixture
def vault() -> Encryption:
    return MemoryKeyVault()


async def test_an_encrypted_value_can_be_decrypted(vault: Encryption) -> None:
    encrypted = await vault.encrypt("secret-1", "pass wörd\n")
    assert encrypted.startswith("s1.")
    assert await vault.decrypt("secret-1", encrypted) == "pass wörd\n"


async def test_decrypting_many_values_skips_shredded_keys(vault: Encryption) -> None:
    encrypted = {subject: await vault.encrypt(subject, f"value of {subject}") for subject in ("a", "b", "c")}
    await vault.shred("b")
    assert await vault.decrypt_many(encrypted) == {"a": "value of a", "c": "value of c"}


async def test_the_empty_text_can_be_encrypted(vault: Encryption) -> None:
    assert await vault.decrypt("secret-1", await vault.encrypt("secret-1", "")) == ""


async def test_encrypting_a_value_twice_gives_different_ciphertexts(vault: Encryption) -> None:
    assert await vault.encrypt("secret-1", "value") != await vault.encrypt("secret-1", "value")


async def test_a_mac_depends_on_text_and_subject(vault: Encryption) -> None:
    mac = await vault.mac("requests", "value")
    assert await vault.mac("requests", "value") == mac
    others = {
        await vault.mac("requests", "other"),
        await vault.mac("secret-7", "value"),
        hashlib.sha256(b"value").hexdigest(),
    }
    assert mac not in others


async def test_a_value_encrypted_for_another_subject_cannot_be_decrypted(vault: Encryption) -> None:
    await vault.encrypt("secret-2", "other")
    with pytest.raises(DecryptionFailed):
        await vault.decrypt("secret-2", await vault.encrypt("secret-1", "value"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda encrypted: encrypted[:-6] + ("A" if encrypted[-6] != "A" else "B") + encrypted[-5:],
        lambda encrypted: encrypted[:-8],
        lambda encrypted: encrypted + "!",
        lambda encrypted: encrypted.removeprefix("s1."),
        lambda _: "s1.",
        lambda _: "s1.AAAA",
        lambda _: "s1.ä",
        lambda _: "",
    ],
)
async def test_an_altered_ciphertext_cannot_be_decrypted(vault: Encryption, spoil) -> None:  # type: ignore[no-untyped-def]
    encrypted = await vault.encrypt("secret-1", "a value of some length")
    with pytest.raises(DecryptionFailed):
        await vault.decrypt("secret-1", spoil(encrypted))


async def test_shredding_a_key_affects_only_its_subject(vault: Encryption) -> None:
    shredded, stays = await vault.encrypt("user-1", "gone"), await vault.encrypt("user-2", "stays")
    await vault.shred("user-1")
    await vault.shred("user-1")
    with pytest.raises(KeyErased):
        await vault.decrypt("user-1", shredded)
    assert await vault.decrypt("user-2", stays) == "stays"


def test_the_first_master_key_is_the_current_one() -> None:
    keys = MasterKeys.from_keys([KEY, OLDER])
    assert keys.current == hashlib.sha256(KEY).hexdigest()[:8]
    assert list(keys.keys.values()) == [KEY, OLDER]


def test_the_repr_of_master_keys_hides_them() -> None:
    assert "\\x" not in repr(MasterKeys.from_keys([KEY]))


def test_a_missing_master_key_is_named() -> None:
    old, new = MasterKeys.from_keys([OLDER]), MasterKeys.from_keys([KEY])
    with pytest.raises(MasterKeyMissing, match=old.current):
        new.unwrap(old.current, "secret-1", old.wrap("secret-1", KEY))
