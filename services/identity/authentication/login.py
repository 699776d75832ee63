"""Login: exchange a username and a password for a signed access token."""

import asyncio
from functools import lru_cache

from contracts.errors import RequestRejected
from contracts.identity import LogIn, Session
from libs.security.erased_keys import KeyErased
from libs.security.passwords import DUMMY_HASH, verify_password_async
from libs.security.tokens import issue_token
from libs.service.declaration import Context
from services.identity.authentication.login_throttling import start_attempt
from services.identity.authentication.signing_keys import load_signing_key
from services.identity.projections import UserRow

# hashing is expensive; a login that waits for its turn may reach its rate limit and then needs no hashing
MAX_CONCURRENT_PASSWORD_CHECKS = 4


@lru_cache(maxsize=4)
def _hash_slots(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(MAX_CONCURRENT_PASSWORD_CHECKS)


async def log_in(ctx: Context, command: LogIn) -> Session:
    async with _hash_slots(asyncio.get_running_loop()):
        row = await authenticate(ctx, command)
    lifetime = ctx.settings.token_seconds
    token = issue_token(
        await load_signing_key(ctx),
        subject=row.id,
        username=row.username,
        roles=row.roles,
        epoch=row.epoch,
        now=ctx.clock.database_time(),
        lifetime=lifetime,
    )
    return Session(access_token=token, expires_in=lifetime)


async def authenticate(ctx: Context, command: LogIn) -> UserRow:
    """Return the user. Raise RequestRejected with UNAUTHORIZED or TOO_MANY_REQUESTS."""
    attempt = start_attempt(ctx, command.username, command.ip_address)
    await attempt.check()
    row = await ctx.read_model(UserRow).find_one({"username_key": command.username.strip().lower()})
    is_correct = await verify_password_async(await load_password_hash(ctx, row), command.password)
    if row is None or not is_correct or not row.enabled:
        await attempt.record_failure()
        raise RequestRejected("UNAUTHORIZED")
    await attempt.record_success()
    return row


async def load_password_hash(ctx: Context, row: UserRow | None) -> str:
    """Return the password hash, or a dummy hash for an unknown user so that the response time does not reveal it."""
    if row is None:
        return DUMMY_HASH
    try:
        return await ctx.vault.decrypt(f"user-{row.id}", row.sealed_password_hash)
    except KeyErased:  # deleted concurrently
        return DUMMY_HASH
