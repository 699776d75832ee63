"""Login: exchange a username and a password, or an unexpired token, for a signed access token."""

import asyncio
from datetime import datetime, timedelta
from functools import lru_cache

from contracts.errors import RequestRejected
from contracts.identity import GetVerificationKeys, LogIn, RenewSession, Session
from libs.security.erased_keys import KeyErased
from libs.security.passwords import DUMMY_HASH, verify_password_async
from libs.security.tokens import ExpiredToken, InvalidToken, issue_token, verify_token
from libs.service.declaration import Context
from services.identity.authentication.login_throttling import start_attempt
from services.identity.authentication.signing_keys import get_verification_keys, load_signing_key
from services.identity.projections import UserRow

# Hashing is expensive. The rate limit of a login is checked after it has waited for its turn, so that fewer hashes are
# computed during an attack.
MAX_CONCURRENT_PASSWORD_CHECKS = 4


@lru_cache(maxsize=4)
def _hash_slots(_loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    return asyncio.Semaphore(MAX_CONCURRENT_PASSWORD_CHECKS)


async def log_in(ctx: Context, command: LogIn) -> Session:
    async with _hash_slots(asyncio.get_running_loop()):
        row = await authenticate(ctx, command)
    now = ctx.clock.database_time()
    return await issue_session(ctx, row, now, signed_in_at=now)


async def renew_session(ctx: Context, command: RenewSession) -> Session:
    """Return a new token for the user of a valid one. Raises RequestRejected as RenewSession documents."""
    keys = (await get_verification_keys(ctx, GetVerificationKeys())).keys
    now = ctx.clock.database_time()
    try:
        claims = verify_token(command.token, keys, now)
    except ExpiredToken:
        raise RequestRejected("TOKEN_EXPIRED") from None
    except InvalidToken:
        raise RequestRejected("TOKEN_INVALID") from None
    row = await ctx.read_model(UserRow).get(f"user-{claims.user_id}")
    if row is None or not row.enabled or row.epoch != claims.epoch:
        raise RequestRejected("TOKEN_INVALID")
    return await issue_session(ctx, row, now, claims.signed_in_at)


async def issue_session(ctx: Context, row: UserRow, now: datetime, signed_in_at: datetime) -> Session:
    renewable_for = int((signed_in_at + timedelta(seconds=ctx.settings.session_seconds) - now).total_seconds())
    if renewable_for < 0:
        raise RequestRejected("SESSION_EXPIRED")
    token = issue_token(
        await load_signing_key(ctx),
        subject=row.id,
        username=row.username,
        roles=row.roles,
        epoch=row.epoch,
        now=now,
        lifetime=ctx.settings.token_seconds,
        signed_in_at=signed_in_at,
    )
    return Session(access_token=token, expires_in=ctx.settings.token_seconds, renewable_for=renewable_for)


async def authenticate(ctx: Context, command: LogIn) -> UserRow:
    """Return the user. Raises RequestRejected with UNAUTHORIZED or TOO_MANY_REQUESTS."""
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
    """Return the user's password hash.

    Return a dummy hash for an unknown user, so that the response time does not reveal whether the user exists.
    """
    if row is None:
        return DUMMY_HASH
    try:
        return await ctx.vault.decrypt(f"user-{row.id}", row.sealed_password_hash)
    except KeyErased:  # deleted concurrently
        return DUMMY_HASH
