"""The keys that sign tokens: numbered, sealed, the same for all replicas; the newest one signs.

A key that was followed by another verifies until the last token that it signed has ended.
"""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from pymongo.errors import DuplicateKeyError

from contracts.identity import GetVerificationKeys, RotateSigningKeys, VerificationKeys
from libs.security.tokens import SigningKey, generate_signing_key
from libs.service.declaration import Context

log = logging.getLogger("headrace.identity")

ENCRYPTION_SUBJECT = "signing-keys"
KEYS_COLLECTION = "signing_keys"
CLOCK_SLACK = timedelta(minutes=1)  # a replica may hold the older key a moment longer, and clocks differ


async def ensure_signing_key(ctx: Context) -> None:
    """The first key; of several replicas that make one at once, one does."""
    if await ctx.collection(KEYS_COLLECTION).find_one({}, {"_id": 1}) is None:
        await _add_key(ctx, 1)
    # tokens that were issued while log-ins lasted longer still count
    await ctx.collection(KEYS_COLLECTION).update_many({}, {"$max": {"token_seconds": ctx.settings.token_seconds}})


async def load_signing_key(ctx: Context) -> SigningKey:
    stored = await ctx.collection(KEYS_COLLECTION).find_one({}, sort=[("_id", -1)])
    private_pem = await ctx.vault.decrypt(ENCRYPTION_SUBJECT, stored["sealed_private_pem"])
    return SigningKey(kid=stored["kid"], private_pem=private_pem, public_pem=stored["public_pem"])


async def list_public_keys(ctx: Context, _query: GetVerificationKeys) -> VerificationKeys:
    stored = await _load_keys(ctx)
    over = _expired_key_numbers(stored, ctx.clock.database_time())
    return VerificationKeys(keys={one["kid"]: one["public_pem"] for one in stored if one["_id"] not in over})


async def rotate_signing_keys(ctx: Context, _command: RotateSigningKeys) -> VerificationKeys:
    """Of several rotations at once, one makes the key that all of them wanted."""
    stored = await _load_keys(ctx)
    await _add_key(ctx, stored[-1]["_id"] + 1)
    await ctx.collection(KEYS_COLLECTION).delete_many(
        {"_id": {"$in": _expired_key_numbers(stored, ctx.clock.database_time())}}
    )
    log.info("tokens are signed with a new key, number %s", stored[-1]["_id"] + 1)
    return await list_public_keys(ctx, GetVerificationKeys())


async def _load_keys(ctx: Context) -> list[dict[str, Any]]:
    return [one async for one in ctx.collection(KEYS_COLLECTION).find(sort=[("_id", 1)])]


def _expired_key_numbers(stored: list[dict[str, Any]], now: datetime) -> list[int]:
    """Numbers of the keys whose tokens have all ended: a key signs until the next one is made."""
    return [
        key["_id"]
        for key, following in pairwise(stored)
        if following["made_at"] + timedelta(seconds=key["token_seconds"]) + CLOCK_SLACK < now
    ]


async def _add_key(ctx: Context, number: int) -> None:
    key = generate_signing_key()
    document = {
        "_id": number,
        "kid": key.kid,
        "public_pem": key.public_pem,
        "sealed_private_pem": await ctx.vault.encrypt(ENCRYPTION_SUBJECT, key.private_pem),
        "made_at": ctx.clock.database_time(),
        "token_seconds": ctx.settings.token_seconds,
    }
    with suppress(DuplicateKeyError):  # another replica was faster: its key is as good
        await ctx.collection(KEYS_COLLECTION).insert_one(document)
