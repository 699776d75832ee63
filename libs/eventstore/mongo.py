"""The event store on MongoDB: `commits` is the log, `streams` holds heads and rows, `claims` the names taken.

`notes` holds for a while where commands with an idempotency key found that there was nothing to record.
"""

from typing import Any

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure

from libs.eventstore.decider import CommandMetadata, RecordedEvent
from libs.eventstore.group_commit import GroupCommitter
from libs.eventstore.indexes import Index, ensure_index
from libs.eventstore.mapping import REF_FIELDS, Document, from_document, read_commit_ref
from libs.eventstore.store import CommitRef, DuplicateCommand, PendingCommit, StoreUnavailable
from libs.observability.tracing import MONGODB, SpanKind, child_span
from libs.security.envelope_encryption import Encryption

NAMESPACE_EXISTS = 48  # NamespaceExists
APPEND_ATTRIBUTES = {**MONGODB, "db.operation.name": "append", "db.collection.name": "commits"}
NOOP_TTL_SECONDS = 7 * 24 * 3600  # seconds for which a repeated request is recognised
INDEXES = (
    Index("commits", ("stream", "version"), {"unique": True}),
    Index("notes", ("at",), {"expireAfterSeconds": NOOP_TTL_SECONDS}),
)


class MongoEventStore:
    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self.commits = database["commits"]
        self._noops = database["notes"]
        self._vault = vault
        self._committer = GroupCommitter(database, vault)

    async def append(self, *decisions: PendingCommit) -> None:
        events = sum(len(one.events) for one in decisions)
        with child_span("append", SpanKind.CLIENT, {**APPEND_ATTRIBUTES, "headrace.events": events}):
            await self._committer.append(*decisions)

    async def drain(self) -> None:
        await self._committer.drain()

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[RecordedEvent[Any]]:
        versions: dict[str, Any] = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        cursor = self.commits.find({"stream": stream, "version": versions}).sort("version", ASCENDING)
        try:
            documents = await cursor.to_list()
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error
        return [recorded for document in documents for recorded in await from_document(document, self._vault)]

    async def find(self, command_id: str) -> CommitRef | None:
        return await _find_ref(self.commits, command_id)

    async def record_noop(self, stream: str, version: int, metadata: CommandMetadata) -> None:
        note = {"stream": stream, "version": version, "fingerprint": metadata.fingerprint, "at": metadata.at}
        try:
            await self._noops.insert_one({"_id": metadata.command_id, **note})
        except DuplicateKeyError:
            if known := await self.find_noop(metadata.command_id):
                raise DuplicateCommand(known) from None
        except ConnectionFailure as error:
            raise StoreUnavailable(str(error)) from error

    async def find_noop(self, command_id: str) -> CommitRef | None:
        return await _find_ref(self._noops, command_id)


async def _find_ref(collection: AsyncCollection[Document], command_id: str) -> CommitRef | None:
    try:
        found = await collection.find_one({"_id": command_id}, REF_FIELDS)
    except ConnectionFailure as error:
        raise StoreUnavailable(str(error)) from error
    return read_commit_ref(found) if found else None


async def create_schema(database: AsyncDatabase[Document]) -> None:
    """Create what the store needs; harmless when it is there."""
    for name in ("commits", "streams", "claims", "notes"):
        try:
            await database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
    for index in INDEXES:
        await ensure_index(database, index)
