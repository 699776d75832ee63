"""Logging in: a name and a password for a token that lasts a while."""

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

MAX_CONCURRENT_PASSWORD_CHECKS = (
    4  # passwords that are checked; whoever waits behind too many wrong ones is refused without the work
)


@lru_cache(maxsize=4)
def _hash_slots(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(MAX_CONCURRENT_PASSWORD_CHECKS)


async def log_in(ctx: Context, query: LogIn) -> Session:
    async with _hash_slots(asyncio.get_running_loop()):
        row = await authenticate(ctx, query)
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


async def authenticate(ctx: Context, query: LogIn) -> UserRow:
    guess = start_attempt(ctx, query.username, query.ip_address)
    await guess.check()
    row: UserRow | None = await ctx.read_model("user").find_one({"username_key": query.username.strip().lower()})
    right = await verify_password_async(await load_password_hash(ctx, row), query.password)
    if row is None or not right or not row.enabled:
        await guess.record_failure()
        raise RequestRejected("UNAUTHORIZED")
    await guess.record_success()
    return row


async def load_password_hash(ctx: Context, row: UserRow | None) -> str:
    """For an unknown user a hash that fits nothing, so that the time of a refusal does not tell who exists."""
    if row is None:
        return DUMMY_HASH
    try:
        return await ctx.vault.decrypt(f"user-{row.id}", row.sealed_password_hash)
    except KeyErased:  # deleted this very moment
        return DUMMY_HASH
