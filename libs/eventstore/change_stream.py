"""The change stream of the log: commits in the order of the database."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from bson import Timestamp
from pymongo.asynchronous.collection import AsyncCollection

from libs.documents import Document

BATCH_DELAY_SECONDS = 0.05
BATCH_SIZE = 256
MAX_AWAIT_MS = 500
OPLOG_LOST_CODES = {136, 280, 286}  # error codes when the oplog no longer contains the position
EPOCH = Timestamp(0, 0)

StartPosition = Document  # start parameters of a change stream


@dataclass(frozen=True, slots=True)
class CommitChange:
    """A commit from the change stream with its resume token. Without a document it is only a later token."""

    token: str
    at: Timestamp = EPOCH
    document: Document | None = None


def resume_after(token: str) -> StartPosition:
    return {"resume_after": {"_data": token}}


async def get_operation_time(commits: AsyncCollection[Document]) -> Timestamp:
    """Return the database's current position in the oplog."""
    time: Timestamp = (await commits.database.command("ping"))["operationTime"]
    return time


async def watch_commits(commits: AsyncCollection[Document], start: StartPosition) -> AsyncGenerator[CommitChange]:
    """Yield commits in the order of the database, and changes without a document while there are none."""
    pipeline: list[Document] = [
        {"$match": {"operationType": "insert"}},
        {"$project": {"fullDocument": 1, "clusterTime": 1}},
    ]
    changes = await commits.watch(pipeline, batch_size=BATCH_SIZE, max_await_time_ms=MAX_AWAIT_MS, **start)
    async with changes:
        while changes.alive:
            change = await changes.try_next()
            if change is not None:
                yield CommitChange(change["_id"]["_data"], change["clusterTime"], change["fullDocument"])
                if not changes._cursor._has_next():
                    # collect a batch: relay, subscriptions and databases have much less work per event, and whatever
                    # needs low latency uses hints
                    await asyncio.sleep(BATCH_DELAY_SECONDS)
            elif changes.resume_token is not None:
                yield CommitChange(changes.resume_token["_data"])
