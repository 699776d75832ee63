"""Logging in: a name and a password for a token that lasts a while."""

import asyncio
from functools import lru_cache

from contracts.errors import Refused
from contracts.identity import LogIn, Session
from libs.security.erased import Erased
from libs.security.passwords import DUMMY_HASH, verify_password_async
from libs.security.tokens import issue
from libs.service import Context
from services.identity.guessing import attempt
from services.identity.signing import signing_key
from services.identity.views import UserRow

AT_ONCE = 4  # passwords that are checked; whoever waits behind too many wrong ones is refused without the work


@lru_cache(maxsize=4)
def places(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(AT_ONCE)


async def log_in(ctx: Context, query: LogIn) -> Session:
    async with places(asyncio.get_running_loop()):
        row = await known(ctx, query)
    lifetime = ctx.settings.token_seconds
    token = issue(
        await signing_key(ctx),
        subject=row.id,
        username=row.username,
        roles=row.roles,
        epoch=row.epoch,
        now=ctx.clock.database_time(),
        lifetime=lifetime,
    )
    return Session(access_token=token, expires_in=lifetime)


async def known(ctx: Context, query: LogIn) -> UserRow:
    guess = attempt(ctx, query.username, query.ip_address)
    await guess.check()
    row: UserRow | None = await ctx.rows("user").one({"username_key": query.username.strip().lower()})
    right = await verify_password_async(await known_hash(ctx, row), query.password)
    if row is None or not right or not row.enabled:
        await guess.failed()
        raise Refused("UNAUTHORIZED")
    await guess.succeeded()
    return row


async def known_hash(ctx: Context, row: UserRow | None) -> str:
    """For an unknown user a hash that fits nothing, so that the time of a refusal does not tell who exists."""
    if row is None:
        return DUMMY_HASH
    try:
        return await ctx.vault.open(f"user-{row.id}", row.sealed_password_hash)
    except Erased:  # deleted this very moment
        return DUMMY_HASH
