"""Turns: at most one request about a build is sent at a time, so that the forge receives its states in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from libs.service.declaration import Context, RetryLater
from services.notifications.outgoing.http_client import TIMEOUT_SECONDS

TURNS_COLLECTION = "turns"  # one document per build with a request that is being sent
# a turn that a crashed process has left ends by itself, when its request can no longer be under way
TURN_SECONDS = 3 * TIMEOUT_SECONDS
RETRY_DELAY_SECONDS = 1.0


@asynccontextmanager
async def take_turn(ctx: Context, build_id: int) -> AsyncIterator[None]:
    """Hold the turn of the build. Raise RetryLater if another worker has it."""
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
