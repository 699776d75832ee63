"""Reservations of names, requirements of other streams, and new documents, in the transaction of the commits."""

from collections.abc import Sequence

from pymongo import DeleteOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore.decider import Release, RequireOther, Reserve
from libs.eventstore.store import PendingCommit

DUPLICATE_KEY_CODE = 11000

Rejections = dict[str, Exception]  # command id -> why its commit was not written


class Reservations:
    """The collection `claims`: a document for each reserved name, and one for each key of requirements."""

    def __init__(self, database: AsyncDatabase[Document]) -> None:
        self._database = database
        self._claims: AsyncCollection[Document] = database["claims"]
        self._streams: AsyncCollection[Document] = database["streams"]

    async def check(self, commits: Sequence[PendingCommit], session: AsyncClientSession) -> Rejections:
        """Reject commits that reserve a name held by another stream, or that require a stream which does not exist.

        Locks the documents of the requirements.
        """
        rejections = await self._check_names(commits, session)
        for commit in commits:
            for required in commit.reservations:
                if isinstance(required, RequireOther) and not await self._find_other(commit, required, session):
                    rejections[commit.metadata.command_id] = RequestRejected(required.code)
        return rejections

    async def apply(self, commits: Sequence[PendingCommit], session: AsyncClientSession) -> None:
        writes = [write for commit in commits for write in _writes(commit)]
        if writes:
            await self._claims.bulk_write(writes, ordered=False, session=session)

    async def insert_documents(self, commits: Sequence[PendingCommit], session: AsyncClientSession) -> None:
        """Insert the new documents of the commits. Raises RequestRejected if one of them exists.

        This aborts the transaction, unlike other rejections. It is rare, and a check would cost each commit a query.
        """
        new_documents = [commit.new_document for commit in commits if commit.new_document]
        for name in {new.collection for new in new_documents}:
            inserts = [new for new in new_documents if new.collection == name]
            try:
                await self._database[name].insert_many([new.document for new in inserts], session=session)
            except BulkWriteError as error:
                failure = error.details["writeErrors"][0]
                if failure["code"] != DUPLICATE_KEY_CODE:
                    raise
                raise RequestRejected(inserts[failure["index"]].code) from error

    async def _check_names(self, commits: Sequence[PendingCommit], session: AsyncClientSession) -> Rejections:
        keys = [
            reservation.key
            for commit in commits
            for reservation in commit.reservations
            if isinstance(reservation, Reserve)
        ]
        if not keys:
            return {}
        documents = self._claims.find({"_id": {"$in": keys}}, session=session)
        owners = {document["_id"]: document["stream"] async for document in documents}
        return {
            commit.metadata.command_id: RequestRejected(reservation.code)
            for commit in commits
            for reservation in reversed(commit.reservations)  # the first conflicting reservation decides
            if isinstance(reservation, Reserve) and owners.get(reservation.key, commit.stream) != commit.stream
        }

    async def _find_other(self, commit: PendingCommit, required: RequireOther, session: AsyncClientSession) -> bool:
        """Return whether another stream has the required row. A concurrent transaction with the same key is aborted."""
        await self._claims.update_one({"_id": required.key}, {"$inc": {"checks": 1}}, upsert=True, session=session)
        values = {f"{commit.category.row_field}.{name}": value for name, value in required.row.items()}
        other = {"_id": {"$ne": commit.stream}, **values}
        return await self._streams.find_one(other, {"_id": 1}, session=session) is not None


def _writes(commit: PendingCommit) -> list[UpdateOne | DeleteOne]:
    """Return the writes of a commit's reservations. Of several reservations of one name only the last one counts."""
    writes: list[UpdateOne | DeleteOne] = []
    for reservation in {reservation.key: reservation for reservation in commit.reservations}.values():
        document = {"_id": reservation.key, "stream": commit.stream}
        match reservation:
            case Reserve():
                # idempotent for the owner; if another stream has reserved the name since the check, the transaction
                # aborts
                writes.append(UpdateOne(document, {"$set": {"stream": commit.stream}}, upsert=True))
            case Release():
                writes.append(DeleteOne(document))
            case RequireOther():
                pass  # nothing to write: the check has locked its document
    return writes
