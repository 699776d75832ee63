"""Password hashes, and rules for new passwords."""

import asyncio

import pytest

from libs.security.passwords import (
    DUMMY_HASH,
    HASHER,
    find_policy_violation,
    hash_password,
    hash_password_async,
    verify_password,
    verify_password_async,
)

HASH = hash_password("correct pferd ⚡ batterie")


def test_a_hash_matches_only_its_password() -> None:
    assert verify_password(HASH, "correct pferd ⚡ batterie")
    assert not verify_password(HASH, "correct pferd ⚡ batteriE")


def test_hashes_use_argon2id_and_a_random_salt() -> None:
    assert HASH.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert hash_password("password") != hash_password("password")


@pytest.mark.parametrize("text", ["", "plain", "$2b$12$abcdefghijklmnopqrstuv"])
def test_an_invalid_hash_matches_no_password(text: str) -> None:
    assert not verify_password(text, text)


def test_any_text_can_be_a_wrong_password() -> None:
    assert not verify_password(HASH, "\ud800")


def test_the_dummy_hash_costs_as_much_as_a_real_one() -> None:
    assert not HASHER.check_needs_rehash(DUMMY_HASH)
    assert not verify_password(DUMMY_HASH, "")


async def test_the_event_loop_is_not_blocked_while_a_password_is_verified() -> None:
    checking = asyncio.create_task(verify_password_async(await hash_password_async("password"), "password"))
    await asyncio.sleep(0)
    assert not checking.done()
    assert await checking


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("sieben7", "at least 8 characters"),
        ("", "at least 8 characters"),
        ("password123", "too common"),
        ("PassWord1", "too common"),
        ("12345678", "too common"),
        ("qwertyuiop", "too common"),
        ("*" * 11, "must not consist of asterisks"),
        ("xx-Ann.Lee-xx", "contain the username"),
    ],
)
def test_easily_guessed_passwords_are_rejected(password: str, reason: str) -> None:
    assert reason in str(find_policy_violation(password, "ann.lee"))


@pytest.mark.parametrize(
    ("password", "username"), [("mill-w8r", "ann.lee"), ("пароли нет", "anna"), ("long enough", "")]
)
def test_other_passwords_are_accepted(password: str, username: str) -> None:
    assert find_policy_violation(password, username) is None
