"""Removal of deleted streams from the event log.

A stream is removed in two steps. First, a transaction turns its first commit into a tombstone, deletes its head and
its key, and adds its events to the balances of cumulative projections. From then on the stream does not exist for
readers. A day later its other commits are deleted: a backup that was running at the first step reads either all commits
of the stream or its tombstone. Each step can be repeated.

The tombstone is the first commit without its events, actor and trace. It stays, so that the command that started the
stream is still recognized, and the stream cannot start again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from pymongo import ASCENDING, DESCENDING, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore.decider import SYSTEM, AnyCategory, AnyEvent
from libs.eventstore.mapping import DELETED_AT, PURGE_AT, from_document
from libs.projections.read_model import ROW_EXISTS
from libs.retention.balances import add_to_balance
from libs.retention.removal_hold import pass_hold
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Expiry, Service

BATCH_SIZE = 50  # streams in one transaction
BATCH_PAUSE_SECONDS = 0.05
MAX_BATCHES = 20  # transactions in one run
MIN_SURPLUS_AGE = timedelta(hours=1)  # younger surplus streams stay, because reactions to their events may be pending
PURGE_DELAY = timedelta(days=1)  # longer than the duration of a backup
ROW_IS_DELETED = {"$type": "null"}  # a row that is missing, because an older release wrote the head, does not match


class StreamRemoval:
    """Removes deleted, expired and surplus streams of one service. Only the leader runs it.

    Each removal raises RemovalHeld while the log is being read.
    """

    def __init__(self, service: Service, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self._database = database
        self._streams = database["streams"]
        self._commits = database["commits"]
        self._vault = vault
        self._categories: Mapping[str, AnyCategory] = {
            category.name: category for category in service.categories if category.is_removable
        }
        self._cumulative = [projection for projection in service.projections if projection.is_cumulative]

    async def run(self, now: datetime, grace: timedelta) -> int:
        """Remove streams deleted more than `grace` ago, at most MAX_BATCHES * BATCH_SIZE. Return their number.

        Also delete the remaining commits of streams that earlier runs removed.
        """
        removed = 0
        due: Document = {DELETED_AT: {"$lt": now - grace}}
        for _ in range(MAX_BATCHES):
            heads = await self._streams.find(due).sort(DELETED_AT, ASCENDING).limit(BATCH_SIZE).to_list()
            if not heads:
                break
            deleted = [head["_id"] for head in heads if self._is_deleted(head)]
            await self.remove(deleted, now)
            removed += len(deleted)
            others = [head["_id"] for head in heads if not self._is_deleted(head)]
            await self._streams.update_many({"_id": {"$in": others}}, {"$unset": {DELETED_AT: ""}})
            await asyncio.sleep(BATCH_PAUSE_SECONDS)
        await purge_removed_streams(self._database, {"$lt": now})
        return removed

    async def expire(self, expiry: Expiry, now: datetime, days: int) -> int:
        """Remove streams whose rows are more than `days` old, within the limits of `run`. Return their number."""
        time_field = f"{expiry.category.row_field}.{expiry.time_field}"
        due = _list_conditions(expiry) | {time_field: {"$lt": now - timedelta(days=days)}}
        return await self._remove_all(lambda: self._streams.find(due, {"_id": 1}).sort(time_field), now)

    async def remove_surplus(self, expiry: Expiry, now: datetime, count: int) -> int:
        """Remove the streams of each group beyond the `count` newest ones. Return the number removed.

        Streams younger than MIN_SURPLUS_AGE count toward `count`, but are never removed. The limits of `run` apply to
        each group: at most MAX_BATCHES * BATCH_SIZE streams are removed.
        """
        row_field = expiry.category.row_field
        time_field = f"{row_field}.{expiry.time_field}"
        newest_first = [(time_field, DESCENDING), (f"{row_field}.id", DESCENDING)]
        removed, young_since = 0, now - MIN_SURPLUS_AGE
        async for group in self._list_groups(expiry):
            rows = _list_conditions(expiry) | group
            young = await self._streams.count_documents(rows | {time_field: {"$gt": young_since}})
            older, kept = rows | {time_field: {"$lte": young_since}}, max(count - young, 0)
            find = partial(self._find_after, older, newest_first, kept)
            removed += await self._remove_all(find, now)
        return removed

    def _find_after(self, rows: Document, order: Sequence[tuple[str, int]], skip: int) -> AsyncCursor[Document]:
        return self._streams.find(rows, {"_id": 1}).sort(order).skip(skip)

    async def _list_groups(self, expiry: Expiry) -> AsyncIterator[Document]:
        """Yield a filter for the rows of each group. Each is found with one index seek."""
        if not expiry.group_field:
            yield {}
            return
        row_field = expiry.category.row_field
        name = f"{row_field}.{expiry.group_field}"
        last = 0
        while found := await self._streams.find_one({row_field: ROW_EXISTS, name: {"$gt": last}}, sort=[(name, 1)]):
            last = found[row_field][expiry.group_field]
            yield {name: last}

    async def _remove_all(self, find: Callable[[], AsyncCursor[Document]], now: datetime) -> int:
        removed = 0
        for _ in range(MAX_BATCHES):
            heads = await find().limit(BATCH_SIZE).to_list()
            if not heads:
                break
            await self.remove([head["_id"] for head in heads], now)
            removed += len(heads)
            await asyncio.sleep(BATCH_PAUSE_SECONDS)
        return removed

    async def remove(self, streams: Sequence[str], now: datetime) -> None:
        """Shred the keys of streams, and replace the streams with tombstones. `run` deletes their commits later."""
        if not streams:
            return
        async with self._database.client.start_session() as session:
            await session.with_transaction(
                lambda session: self._bury(streams, now, session), write_concern=WriteConcern("majority")
            )

    def _is_deleted(self, head: Document) -> bool:
        category = self._categories.get(head["_id"].partition("-")[0])
        return category is not None and head.get(category.row_field, ...) is None

    async def _bury(self, streams: Sequence[str], now: datetime, session: AsyncClientSession) -> None:
        await pass_hold(self._database, now, session)
        await self._vault.shred(*streams, session=session)
        first = {"stream": {"$in": list(streams)}, "version": 1, "events": {"$ne": []}}
        present = [commit["stream"] async for commit in self._commits.find(first, {"stream": 1}, session=session)]
        for projection in self._cumulative:
            events = [
                recorded for recorded in await self._read(present, session) if projection.row_key(recorded) is not None
            ]
            await add_to_balance(self._database, projection, events, session)
        tombstone = {
            "events": [],
            "actor": {"id": SYSTEM.id, "name": SYSTEM.name},
            "trace": "",
            "removed_at": now,
            PURGE_AT: now + PURGE_DELAY,
        }
        await self._commits.update_many(first, {"$set": tombstone}, session=session)
        await self._streams.delete_many({"_id": {"$in": list(streams)}}, session=session)

    async def _read(self, streams: Sequence[str], session: AsyncClientSession) -> list[AnyEvent]:
        commits = self._commits.find({"stream": {"$in": list(streams)}}, session=session)
        documents = await commits.sort([("stream", ASCENDING), ("version", ASCENDING)]).to_list()
        return [recorded for document in documents for recorded in await from_document(document, vault=None)]


def _list_conditions(expiry: Expiry) -> Document:
    """Return the filter for the rows that may expire."""
    row_field = expiry.category.row_field
    return {row_field: ROW_EXISTS} | {f"{row_field}.{name}": value for name, value in expiry.condition.items()}


async def purge_removed_streams(database: AsyncDatabase[Document], due: Mapping[str, object]) -> None:
    """Delete the remaining commits of removed streams whose tombstone has a `purge_at` that matches `due`."""
    commits = database["commits"]
    while tombstones := await commits.find({PURGE_AT: due}, {"stream": 1}).limit(BATCH_SIZE).to_list():
        streams = [tombstone["stream"] for tombstone in tombstones]
        await commits.delete_many({"stream": {"$in": streams}, "version": {"$gt": 1}})
        ids = [tombstone["_id"] for tombstone in tombstones]
        await commits.update_many({"_id": {"$in": ids}}, {"$unset": {PURGE_AT: ""}})
        await asyncio.sleep(BATCH_PAUSE_SECONDS)


async def mark_deleted_streams(database: AsyncDatabase[Document], category: AnyCategory) -> int:
    """Set the missing deletion time of streams that an older release deleted. Return their number."""
    undated: Document = {
        "_id": {"$gte": f"{category.name}-", "$lt": f"{category.name}."},
        category.row_field: ROW_IS_DELETED,
        DELETED_AT: {"$exists": False},
    }
    result = await database["streams"].update_many(undated, [{"$set": {DELETED_AT: "$$NOW"}}])
    return result.modified_count
