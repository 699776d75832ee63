"""Password hashing with argon2id, and the rules for new passwords."""

import asyncio
from functools import lru_cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

MIN_PASSWORD_LENGTH = 8
HASHER = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1)  # about 35 ms and 19 MiB per hash
# hash of a random password, verified for unknown users, so that the response time does not reveal whether a user exists
DUMMY_HASH = "$argon2id$v=19$m=19456,t=3,p=1$9fEfHtInMeyht4mNXSkluA$5TBa0oaqUdJSiSOEnDZ3vYkmcgdHoAzO7QekkByDh+E"


def hash_password(password: str) -> str:
    return HASHER.hash(_encode(password))


def verify_password(hash: str, password: str) -> bool:  # noqa: A002 - the usual parameter name
    """Return whether the password matches. An invalid hash matches no password."""
    try:
        return HASHER.verify(hash, _encode(password))
    except (VerifyMismatchError, InvalidHashError):
        return False


async def hash_password_async(password: str) -> str:
    return await asyncio.to_thread(hash_password, password)


async def verify_password_async(hash: str, password: str) -> bool:  # noqa: A002
    return await asyncio.to_thread(verify_password, hash, password)


def find_policy_violation(password: str, username: str) -> str | None:
    """Return why a new password is not acceptable, or None."""
    if len(password) < MIN_PASSWORD_LENGTH:
        return f"the password must have at least {MIN_PASSWORD_LENGTH} characters"
    if not password.strip("*"):
        return "a password must not consist of asterisks, which stand for a hidden password"
    if password.casefold() in _load_common_passwords():
        return "the password is too common"
    if username and username.casefold() in password.casefold():
        return "the password must not contain the username"
    return None


@lru_cache(maxsize=1)
def _load_common_passwords() -> frozenset[str]:
    lines = Path(__file__).with_name("common_passwords.txt").read_text("utf-8")
    return frozenset(lines.split())


def _encode(password: str) -> bytes:
    return password.encode(errors="surrogatepass")  # lone surrogates are a wrong password, not an error
