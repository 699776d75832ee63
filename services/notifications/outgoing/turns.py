"""A lock per build: one commit status of a build is sent at a time, so that the forge receives the states in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from libs.service.declaration import Context, RetryLater
from services.notifications.outgoing.http_client import TIMEOUT_SECONDS

TURNS_COLLECTION = "turns"  # one document per locked build
# a lock left by a crashed process expires after this time, when its request can no longer be in progress
TURN_SECONDS = 3 * TIMEOUT_SECONDS
RETRY_DELAY_SECONDS = 1.0


@asynccontextmanager
async def take_turn(ctx: Context, build_id: int) -> AsyncIterator[None]:
    """Hold the lock of the build for the duration of the block. Raises RetryLater if another worker holds it."""
    turns, owner, now = ctx.collection(TURNS_COLLECTION), str(uuid4()), ctx.clock.database_time()
    try:
        await turns.update_one(
            {"_id": build_id, "until": {"$lte": now}},
            {"$set": {"until": now + timedelta(seconds=TURN_SECONDS), "owner": owner}},
            upsert=True,
        )
    except DuplicateKeyError:
        raise RetryLater(RETRY_DELAY_SECONDS) from None
    try:
        yield
    finally:
        await turns.delete_one({"_id": build_id, "owner": owner})
