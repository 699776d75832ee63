"""Passwords: argon2id hashes, and the rules that a new password must keep."""

import asyncio
from functools import lru_cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

MIN_PASSWORD_LENGTH = 8
HASHER = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1)  # about 35 ms and 19 MiB each
# of a random password that nobody knows: checked for unknown users, so that the time of a refusal does not tell them
DUMMY_HASH = "$argon2id$v=19$m=19456,t=3,p=1$9fEfHtInMeyht4mNXSkluA$5TBa0oaqUdJSiSOEnDZ3vYkmcgdHoAzO7QekkByDh+E"


def hash_password(password: str) -> str:
    return HASHER.hash(_encode(password))


def verify_password(hash: str, password: str) -> bool:  # noqa: A002 - the word everybody uses
    """Text that is no hash at all fits no password."""
    try:
        return HASHER.verify(hash, _encode(password))
    except (VerifyMismatchError, InvalidHashError):
        return False


async def hash_password_async(password: str) -> str:
    return await asyncio.to_thread(hash_password, password)


async def verify_password_async(hash: str, password: str) -> bool:  # noqa: A002
    return await asyncio.to_thread(verify_password, hash, password)


def find_policy_violation(password: str, username: str) -> str | None:
    """The reason in words why this password is refused, if it is."""
    if len(password) < MIN_PASSWORD_LENGTH:
        return f"the password must have at least {MIN_PASSWORD_LENGTH} characters"
    if not password.strip("*"):
        return "asterisks are what is shown in the place of a password"
    if password.casefold() in _load_common_passwords():
        return "the password is one of the most common ones"
    if username and username.casefold() in password.casefold():
        return "the password must not contain the username"
    return None


@lru_cache(maxsize=1)
def _load_common_passwords() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8")
    return frozenset(lines.split())


def _encode(password: str) -> bytes:
    return password.encode(errors="surrogatepass")  # any text of a request is either right or wrong, never an error
