"""The promises of sealed values that need no database."""

import base64
import hashlib

import pytest

from libs.security.erased import Erased
from libs.security.sealing import MasterKeyMissing, MasterKeys, MemoryVault, SealBroken, Sealing, new_master_key

KEY = bytes(range(32))
OLDER = bytes(32)
TEXT = f"{base64.b64encode(KEY).decode()}, {base64.b64encode(OLDER).decode()}\n"


@pytest.fixture
def vault() -> Sealing:
    return MemoryVault()


async def test_what_was_sealed_opens_again(vault: Sealing) -> None:
    sealed = await vault.seal("secret-1", "pass wörd\n")
    assert sealed.startswith("s1.")
    assert await vault.open("secret-1", sealed) == "pass wörd\n"


async def test_many_open_at_once_without_those_that_were_erased(vault: Sealing) -> None:
    sealed = {subject: await vault.seal(subject, f"value of {subject}") for subject in ("a", "b", "c")}
    await vault.erase("b")
    assert await vault.open_all(sealed) == {"a": "value of a", "c": "value of c"}


async def test_the_empty_text_can_be_sealed(vault: Sealing) -> None:
    assert await vault.open("secret-1", await vault.seal("secret-1", "")) == ""


async def test_sealing_twice_shows_no_sameness(vault: Sealing) -> None:
    assert await vault.seal("secret-1", "value") != await vault.seal("secret-1", "value")


async def test_a_mac_is_the_same_for_the_same_text_and_subject_alone(vault: Sealing) -> None:
    mac = await vault.mac("requests", "value")
    assert await vault.mac("requests", "value") == mac
    others = {
        await vault.mac("requests", "other"),
        await vault.mac("secret-7", "value"),
        hashlib.sha256(b"value").hexdigest(),
    }
    assert mac not in others


async def test_a_value_sealed_for_another_subject_does_not_open(vault: Sealing) -> None:
    await vault.seal("secret-2", "other")
    with pytest.raises(SealBroken):
        await vault.open("secret-2", await vault.seal("secret-1", "value"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sealed: sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:],
        lambda sealed: sealed[:-8],
        lambda sealed: sealed + "!",
        lambda sealed: sealed.removeprefix("s1."),
        lambda _: "s1.",
        lambda _: "s1.AAAA",
        lambda _: "s1.ä",
        lambda _: "",
    ],
)
async def test_an_altered_value_does_not_open(vault: Sealing, spoil) -> None:  # type: ignore[no-untyped-def]
    sealed = await vault.seal("secret-1", "a value of some length")
    with pytest.raises(SealBroken):
        await vault.open("secret-1", spoil(sealed))


async def test_an_erased_subject_is_gone_and_others_stay(vault: Sealing) -> None:
    gone, stays = await vault.seal("user-1", "gone"), await vault.seal("user-2", "stays")
    await vault.erase("user-1")
    await vault.erase("user-1")
    with pytest.raises(Erased):
        await vault.open("user-1", gone)
    assert await vault.open("user-2", stays) == "stays"


def test_the_first_master_key_is_the_current_one() -> None:
    keys = MasterKeys.parse(TEXT)
    assert keys.current == hashlib.sha256(KEY).hexdigest()[:8]
    assert list(keys.keys.values()) == [KEY, OLDER]


def test_a_new_master_key_can_be_parsed() -> None:
    assert MasterKeys.parse(new_master_key()).current != MasterKeys.parse(new_master_key()).current


@pytest.mark.parametrize("text", ["", "no-base64-at-all", "c2hvcnQ=", TEXT + ","])
def test_a_bad_master_key_is_named_by_its_place_only(text: str) -> None:
    with pytest.raises(ValueError, match=r"^master key number \d is not the base64 of 32 bytes$"):
        MasterKeys.parse(text)


def test_master_keys_are_not_printed() -> None:
    assert "\\x" not in repr(MasterKeys.of([KEY]))


def test_a_missing_master_key_is_named() -> None:
    old, new = MasterKeys.of([OLDER]), MasterKeys.of([KEY])
    with pytest.raises(MasterKeyMissing, match=old.current):
        new.unwrap(old.current, "secret-1", old.wrap("secret-1", KEY))
