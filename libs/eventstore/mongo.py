"""The event store on MongoDB.

Collections: `commits` is the log; `streams` has one document per stream with its version and row; `claims` has the
reserved names and the locks of requirements; `notes` keeps the results of commands with an idempotency key that
recorded no events.
"""

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure

from libs.documents import Document
from libs.eventstore.decider import AnyEvent, CommandMetadata
from libs.eventstore.group_commit import GroupCommitter
from libs.eventstore.indexes import Index, ensure_indexes
from libs.eventstore.mapping import REF_FIELDS, from_document, read_commit_ref
from libs.eventstore.store import CommitRef, DuplicateCommand, PendingCommit, StoreUnavailable
from libs.observability.tracing import MONGODB, SpanKind, child_span
from libs.security.envelope_encryption import Encryption

NAMESPACE_EXISTS = 48  # MongoDB error code
APPEND_ATTRIBUTES = {**MONGODB, "db.operation.name": "append", "db.collection.name": "commits"}
NOOP_TTL_SECONDS = 7 * 24 * 3600  # how long a repeated command that recorded no events is recognized
INDEXES = (
    Index("commits", ("stream", "version"), {"unique": True}),
    Index("notes", ("at",), {"expireAfterSeconds": NOOP_TTL_SECONDS}),
)


class MongoEventStore:
    """An EventStore with group commit. Personal fields of events are encrypted."""

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self.commits = database["commits"]
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
        return [recorded for document in documents for recorded in await from_document(document, self._vault)]

    async def find(self, command_id: str) -> CommitRef | None:
        return await _find_ref(self.commits, command_id)

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
        return await _find_ref(self._noops, command_id)


async def _find_ref(collection: AsyncCollection[Document], command_id: str) -> CommitRef | None:
    try:
        document = await collection.find_one({"_id": command_id}, REF_FIELDS)
    except ConnectionFailure as error:
        raise StoreUnavailable(str(error)) from error
    return read_commit_ref(document) if document else None


async def create_schema(database: AsyncDatabase[Document]) -> None:
    """Create the store's collections and indexes. Idempotent."""
    for name in ("commits", "streams", "claims", "notes"):
        try:
            await database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
    await ensure_indexes(database, INDEXES)
