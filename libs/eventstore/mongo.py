"""The event store on MongoDB.

Collections: `commits` is the log; `streams` has one document per stream with its version and row; `claims` has the
reserved names and the locks of requirements; `notes` keeps the results of commands with an idempotency key that
recorded no events.
"""

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, DuplicateKeyError

from libs.documents import Document, Filter
from libs.eventstore.change_stream import LOG_ORDER
from libs.eventstore.decider import AnyCategory, AnyEvent, CommandMetadata
from libs.eventstore.group_commit import GroupCommitter
from libs.eventstore.indexes import Index, create_collection, ensure_indexes
from libs.eventstore.mapping import (
    DELETED_AT,
    PURGE_AT,
    REACTION_ID,
    REF_FIELDS,
    commits_filter,
    from_document,
    is_tombstone,
    read_commit_ref,
)
from libs.eventstore.store import CommitRef, DuplicateCommand, PendingCommit, Snapshot, StoreUnavailable
from libs.observability.tracing import MONGODB, SpanKind, child_span
from libs.retention.removal_hold import HOLDS
from libs.security.envelope_encryption import Encryption

APPEND_ATTRIBUTES = {**MONGODB, "db.operation.name": "append", "db.collection.name": "commits"}
NOOP_TTL_SECONDS = 7 * 24 * 3600  # how long a repeated command that recorded no events is recognized
INDEXES = (
    Index("commits", ("stream", "version"), {"unique": True}),
    Index("commits", (REACTION_ID,), {"unique": True, "partialFilterExpression": {REACTION_ID: {"$exists": True}}}),
    Index("commits", tuple(name for name, _ in LOG_ORDER)),
    Index("notes", ("at",), {"expireAfterSeconds": NOOP_TTL_SECONDS}),
    # two partial indexes: one contains the heads of deleted streams, the other the tombstones whose purge is pending
    Index("streams", (DELETED_AT,), {"partialFilterExpression": {DELETED_AT: {"$exists": True}}}),
    Index("commits", (PURGE_AT,), {"partialFilterExpression": {PURGE_AT: {"$exists": True}}}),
)


class MongoEventStore:
    """An EventStore with group commit. Personal fields of events are encrypted."""

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self.commits = database["commits"]
        self._heads = database["streams"]
        self._noops = database["notes"]
        self._vault = vault
        self._committer = GroupCommitter(database, vault)

    async def append(self, *commits: PendingCommit) -> None:
        events = sum(len(commit.events) for commit in commits)
        with child_span("append", SpanKind.CLIENT, {**APPEND_ATTRIBUTES, "headrace.events": events}):
            await self._committer.append(*commits)

    async def drain(self) -> None:
        await self._committer.drain()

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[AnyEvent]:
        versions: Document = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        cursor = self.commits.find({"stream": stream, "version": versions}).sort("version", ASCENDING)
        try:
            documents = await cursor.to_list()
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error
        if documents and is_tombstone(documents[0]):
            return []  # the stream was removed: its commits after the tombstone are about to be deleted
        return [recorded for document in documents for recorded in await from_document(document, self._vault)]

    async def read_snapshot(self, category: AnyCategory, stream: str) -> Snapshot | None:
        fields = {"version": 1, category.row_field: 1, category.row_version_field: 1}
        try:
            head = await self._heads.find_one({"_id": stream}, fields)
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error
        # another release may have written the head without this version of the row, which is then out of date
        if head is None or head.get(category.row_version_field) != category.row_version:
            return None
        row = head.get(category.row_field)
        return None if row is None else Snapshot(head["version"], type(category.initial_row).model_validate(row))

    async def is_removed(self, stream: str) -> bool:
        tombstone: Document = {"stream": stream, "version": 1, "events": []}
        try:
            return await self.commits.find_one(tombstone, {"_id": 1}) is not None
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error

    async def find(self, metadata: CommandMetadata) -> CommitRef | None:
        query = commits_filter([metadata]) if metadata.reaction_id else {"_id": metadata.command_id}
        return await _find_ref(self.commits, query)

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        noop = {"stream": stream, "version": version, "fingerprint": metadata.fingerprint, "at": metadata.at}
        try:
            await self._noops.insert_one({"_id": metadata.command_id, **noop})
        except DuplicateKeyError:
            if earlier := await self.find_noop(metadata.command_id):
                raise DuplicateCommand(earlier) from None
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error

    async def find_noop(self, command_id: str) -> CommitRef | None:
        return await _find_ref(self._noops, {"_id": command_id})


async def _find_ref(collection: AsyncCollection[Document], query: Filter) -> CommitRef | None:
    try:
        document = await collection.find_one(query, REF_FIELDS)
    except ConnectionFailure as error:
        raise StoreUnavailable(str(error)) from error
    return read_commit_ref(document) if document else None


async def create_schema(database: AsyncDatabase[Document]) -> None:
    """Create the store's collections and indexes. Idempotent."""
    await create_unindexed_collections(database)
    await ensure_indexes(database, INDEXES)


async def create_unindexed_collections(database: AsyncDatabase[Document]) -> None:
    """Create the store's collections that have no indexes. MongoDB creates the others with their first index."""
    for name in ("claims", HOLDS):
        await create_collection(database, name)
