"""The event log in order: all commits, or new ones in the order in which the database committed them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta

from bson import Timestamp
from pymongo.asynchronous.collection import AsyncCollection

from libs.documents import Document
from libs.eventstore.mapping import PURGE_AT

BATCH_DELAY_SECONDS = 0.05
BATCH_SIZE = 256
MAX_AWAIT_MS = 500
OPLOG_LOST_CODES = {136, 280, 286}  # the oplog no longer contains the start position
EPOCH = Timestamp(0, 0)
LOG_ORDER = [("at", 1), ("version", 1), ("_id", 1)]
MAX_CLOCK_SKEW = timedelta(minutes=10)  # larger differences between the host clocks of writers are not expected

StartPosition = Document  # arguments of `watch` that say where the change stream starts


@dataclass(frozen=True, slots=True)
class CommitChange:
    """A new commit with the resume token after it. `document` is None if there is only a new token."""

    token: str
    at: Timestamp = EPOCH
    document: Document | None = None


def resume_after(token: str) -> StartPosition:
    return {"resume_after": {"_data": token}}


async def read_log(commits: AsyncCollection[Document]) -> AsyncGenerator[Document]:
    """Yield all commits in the order of their times, except the commits of removed streams."""
    removed = {tombstone["stream"] async for tombstone in commits.find({PURGE_AT: {"$exists": True}}, {"stream": 1})}
    async for document in commits.find({"events": {"$ne": []}}).sort(LOG_ORDER):
        if document["stream"] not in removed:
            yield document


async def get_operation_time(commits: AsyncCollection[Document]) -> Timestamp:
    """Return the database's current position in the oplog."""
    time: Timestamp = (await commits.database.command("ping"))["operationTime"]
    return time


async def watch_commits(commits: AsyncCollection[Document], start: StartPosition) -> AsyncGenerator[CommitChange]:
    """Yield new commits in the order in which the database committed them.

    While there are no new commits, yield changes that have only a newer resume token.
    """
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
                if not changes._cursor._has_next():  # noqa: SLF001  the driver does not show the end of a batch
                    # wait for more commits: in a batch, an event costs the relay, the subscriptions and the database
                    # much less work than alone; consumers that need low latency use hints
                    await asyncio.sleep(BATCH_DELAY_SECONDS)
            elif changes.resume_token is not None:
                yield CommitChange(changes.resume_token["_data"])
