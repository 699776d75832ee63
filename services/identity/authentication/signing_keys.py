"""The keys that sign access tokens, shared by all replicas and stored encrypted.

The newest key signs. An older key is published for verification until the last token it signed has expired.
"""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise

from pymongo.errors import DuplicateKeyError

from contracts.identity import GetVerificationKeys, RotateSigningKeys, VerificationKeys
from libs.documents import Document
from libs.security.tokens import SigningKey, generate_signing_key
from libs.service.declaration import Context

log = logging.getLogger("headrace.identity")

ENCRYPTION_SUBJECT = "signing-keys"
KEYS_COLLECTION = "signing_keys"
CLOCK_SLACK = timedelta(minutes=1)  # a replica may sign with the old key a little longer, and clocks differ


async def ensure_signing_key(ctx: Context) -> None:
    """Create the first key if it does not exist. Safe to call on several replicas concurrently."""
    if await ctx.collection(KEYS_COLLECTION).find_one({}, {"_id": 1}) is None:
        await _add_key(ctx, 1)
    # tokens issued under a longer lifetime setting remain valid
    await ctx.collection(KEYS_COLLECTION).update_many({}, {"$max": {"token_seconds": ctx.settings.token_seconds}})


async def load_signing_key(ctx: Context) -> SigningKey:
    stored = await ctx.collection(KEYS_COLLECTION).find_one({}, sort=[("_id", -1)])
    assert stored is not None  # noqa: S101  created at start
    private_pem = await ctx.vault.decrypt(ENCRYPTION_SUBJECT, stored["sealed_private_pem"])
    return SigningKey(kid=stored["kid"], private_pem=private_pem, public_pem=stored["public_pem"])


async def get_verification_keys(ctx: Context, _query: GetVerificationKeys) -> VerificationKeys:
    stored = await _load_keys(ctx)
    expired = _expired_key_numbers(stored, ctx.clock.database_time())
    return VerificationKeys(keys={key["kid"]: key["public_pem"] for key in stored if key["_id"] not in expired})


async def rotate_signing_keys(ctx: Context, _command: RotateSigningKeys) -> VerificationKeys:
    """Add a new key and delete expired ones. Concurrent rotations add one key."""
    stored = await _load_keys(ctx)
    await _add_key(ctx, stored[-1]["_id"] + 1)
    expired = _expired_key_numbers(stored, ctx.clock.database_time())
    await ctx.collection(KEYS_COLLECTION).delete_many({"_id": {"$in": expired}})
    log.info("signing key rotated, new key number %s", stored[-1]["_id"] + 1)
    return await get_verification_keys(ctx, GetVerificationKeys())


async def _load_keys(ctx: Context) -> list[Document]:
    return [key async for key in ctx.collection(KEYS_COLLECTION).find(sort=[("_id", 1)])]


def _expired_key_numbers(stored: list[Document], now: datetime) -> list[int]:
    """Return the numbers of keys whose tokens have all expired. A key signs until the next one is created."""
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
    with suppress(DuplicateKeyError):  # another replica added this key first
        await ctx.collection(KEYS_COLLECTION).insert_one(document)
