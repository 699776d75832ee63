"""The event store on MongoDB: `commits` is the log, `streams` holds heads and rows, `claims` the names taken.

`notes` holds for a while where commands with an idempotency key found that there was nothing to record.
"""

from typing import Any

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure

from libs.deciding import Cause, Recorded
from libs.eventstore.committer import Committer
from libs.eventstore.documents import FOUND, Document, commit_of, from_document
from libs.eventstore.store import Commit, Decision, Repeated, Unavailable
from libs.indexes import Index, ensure_index
from libs.observability.tracing import MONGODB, SpanKind, child
from libs.security.sealing import Sealing

ALREADY_THERE = 48  # NamespaceExists
APPEND = {**MONGODB, "db.operation.name": "append", "db.collection.name": "commits"}
NOTED = 7 * 24 * 3600  # seconds for which a repeated request is recognised
INDEXES = (
    Index("commits", ("stream", "version"), {"unique": True}),
    Index("notes", ("at",), {"expireAfterSeconds": NOTED}),
)


class MongoStore:
    def __init__(self, database: AsyncDatabase[Document], vault: Sealing) -> None:
        self.commits = database["commits"]
        self._notes = database["notes"]
        self._vault = vault
        self._committer = Committer(database, vault)

    async def append(self, *decisions: Decision) -> None:
        events = sum(len(one.events) for one in decisions)
        with child("append", SpanKind.CLIENT, {**APPEND, "headrace.events": events}):
            await self._committer.append(*decisions)

    async def drain(self) -> None:
        await self._committer.drain()

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[Recorded[Any]]:
        versions: dict[str, Any] = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        cursor = self.commits.find({"stream": stream, "version": versions}).sort("version", ASCENDING)
        try:
            documents = await cursor.to_list()
        except ConnectionFailure as error:
            raise Unavailable(str(error)) from error
        return [recorded for document in documents for recorded in await from_document(document, self._vault)]

    async def find(self, command_id: str) -> Commit | None:
        return await _found(self.commits, command_id)

    async def note(self, stream: str, version: int, cause: Cause) -> None:
        note = {"stream": stream, "version": version, "fingerprint": cause.fingerprint, "at": cause.at}
        try:
            await self._notes.insert_one({"_id": cause.command_id, **note})
        except DuplicateKeyError:
            if known := await self.noted(cause.command_id):
                raise Repeated(known) from None
        except ConnectionFailure as error:
            raise Unavailable(str(error)) from error

    async def noted(self, command_id: str) -> Commit | None:
        return await _found(self._notes, command_id)


async def _found(collection: AsyncCollection[Document], command_id: str) -> Commit | None:
    try:
        found = await collection.find_one({"_id": command_id}, FOUND)
    except ConnectionFailure as error:
        raise Unavailable(str(error)) from error
    return commit_of(found) if found else None


async def prepare_database(database: AsyncDatabase[Document]) -> None:
    """Create what the store needs; harmless when it is there."""
    for name in ("commits", "streams", "claims", "notes"):
        try:
            await database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != ALREADY_THERE:
                raise
    for index in INDEXES:
        await ensure_index(database, index)
