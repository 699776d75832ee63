"""Group commit: all decisions that wait are written in one MongoDB transaction, each with its own outcome."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pymongo import InsertOne, UpdateOne, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from contracts.errors import Refused
from libs.deciding import Release, Take
from libs.eventstore.documents import Document, to_document
from libs.eventstore.store import Commit, Conflict, Decision, OutcomeUnknown, Repeated, Unavailable
from libs.security.sealing import Sealing

LARGEST_BATCH = 500
MAJORITY = WriteConcern("majority", j=True)

Waiting = tuple[Decision, Document, "asyncio.Future[None]"]


class NamesOfALoser(Exception):
    """A decision that lost its stream has already written its claims: the transaction must not be committed."""


SETBACKS = (BulkWriteError, DuplicateKeyError, NamesOfALoser)


class Committer:
    """One per process. It starts at once and batches only what piled up meanwhile; it has no timer.

    The head document of a stream is the lock: who does not find it at the expected version is left out of the
    transaction without aborting the others. The unique index on (stream, version) is the safety net below.
    """

    def __init__(self, database: AsyncDatabase[Document], vault: Sealing) -> None:
        self._client = database.client
        self._streams = database["streams"]
        self._commits = database["commits"]
        self._claims = database["claims"]
        self._vault = vault
        self._waiting: list[Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def append(self, decision: Decision) -> None:
        document = await to_document(decision, self._vault)
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((decision, document, outcome))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        # a caller that gives up must not take the batch with it
        await asyncio.shield(outcome)

    async def drain(self) -> None:
        """Wait until everything handed in is written or refused."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    outcomes = await self._transact(batch)
                except SETBACKS:
                    # nothing was written: find the culprit by writing each alone
                    outcomes = [await self._alone(one) for one in batch]
                except PyMongoError as error:
                    outcomes = [await self._resolve(one, error) for one in batch]
                for (_, _, future), outcome in zip(batch, outcomes, strict=True):
                    if future.cancelled():
                        continue
                    if outcome is None:
                        future.set_result(None)
                    else:
                        future.set_exception(outcome)
                        future.exception()  # retrieved: a caller that went away is no news
        finally:
            self._writer = None

    def _next_batch(self) -> list[Waiting]:
        """The longest-waiting decision of each stream; the next one of the same stream waits for its outcome."""
        batch: list[Waiting] = []
        rest: list[Waiting] = []
        streams: set[str] = set()
        for one in self._waiting:
            if len(batch) < LARGEST_BATCH and one[0].stream not in streams:
                streams.add(one[0].stream)
                batch.append(one)
            else:
                rest.append(one)
        self._waiting = rest
        return batch

    async def _alone(self, one: Waiting) -> Exception | None:
        try:
            if known := await self._known(one[0]):
                return Repeated(known)
            return (await self._transact([one]))[0]
        except SETBACKS:
            known = await self._known(one[0])
            return Repeated(known) if known else Conflict(one[0].stream)
        except PyMongoError as error:
            return await self._resolve(one, error)

    async def _resolve(self, one: Waiting, error: PyMongoError) -> Exception | None:
        """The transaction ended in an error that leaves its outcome open: the command id tells."""
        try:
            known = await self._known(one[0])
        except ConnectionFailure:
            unknown = OutcomeUnknown(one[0].stream)
            unknown.__cause__ = error
            return unknown
        if known:
            return None
        failure = Unavailable(str(error))
        failure.__cause__ = error
        return failure

    async def _known(self, decision: Decision) -> Commit | None:
        majority = self._commits.with_options(read_concern=ReadConcern("majority"))
        found = await majority.find_one({"_id": decision.cause.command_id}, {"stream": 1, "version": 1})
        return Commit(found["stream"], found["version"]) if found else None

    async def _transact(self, batch: Sequence[Waiting]) -> list[Exception | None]:
        async def body(session: AsyncClientSession) -> list[Exception | None]:
            lost = await self._take_names(batch, session)
            await self._move_heads([one for one in batch if one[1]["_id"] not in lost], lost, session)
            won = [one[1] for one in batch if one[1]["_id"] not in lost]
            if won:
                await self._commits.insert_many(won, ordered=False, session=session)
            return [lost.get(one[1]["_id"]) for one in batch]

        async with self._client.start_session() as session:
            return await session.with_transaction(body, write_concern=MAJORITY)

    async def _move_heads(
        self, batch: Sequence[Waiting], lost: dict[str, Exception], session: AsyncClientSession
    ) -> None:
        if not batch:
            return
        result = await self._streams.bulk_write([_head(one[0]) for one in batch], ordered=False, session=session)
        if result.upserted_count + result.modified_count == len(batch):
            return
        heads = self._streams.find({"_id": {"$in": [one[0].stream for one in batch]}}, {"commit": 1}, session=session)
        won = {head["commit"] async for head in heads}
        for decision, document, _ in batch:
            if document["_id"] not in won:
                lost[document["_id"]] = Conflict(decision.stream)
        if any(decision.claims for decision, document, _ in batch if document["_id"] in lost):
            raise NamesOfALoser

    async def _take_names(self, batch: Sequence[Waiting], session: AsyncClientSession) -> dict[str, Exception]:
        """Claim and release names; decisions whose name belongs to another stream are lost with their code."""
        lost: dict[str, Exception] = {}
        wanted = [claim.key for one in batch for claim in one[0].claims if isinstance(claim, Take)]
        owners: dict[str, str] = {}
        if wanted:
            async for found in self._claims.find({"_id": {"$in": wanted}}, session=session):
                owners[found["_id"]] = found["stream"]
        inserts: list[InsertOne[Any]] = []
        releases: list[str] = []
        for decision, document, _ in batch:
            taken = {claim.key: claim.code for claim in decision.claims if isinstance(claim, Take)}
            clash = [code for key, code in taken.items() if owners.get(key, decision.stream) != decision.stream]
            if clash:
                lost[document["_id"]] = Refused(clash[0])
                continue
            new = [key for key in taken if key not in owners]
            owners.update(dict.fromkeys(taken, decision.stream))
            inserts += [InsertOne({"_id": key, "stream": decision.stream}) for key in new]
            releases += [claim.key for claim in decision.claims if isinstance(claim, Release)]
        if releases:
            await self._claims.delete_many({"_id": {"$in": releases}}, session=session)
        if inserts:
            await self._claims.bulk_write(inserts, ordered=False, session=session)
        return lost


def _head(decision: Decision) -> UpdateOne:
    row = decision.row.model_dump() if decision.row is not None else None
    field = f"{decision.category.name}_v{decision.category.row_version}"
    head = {"version": decision.version, "commit": decision.cause.command_id, field: row}
    if decision.expected == 0:
        # an upsert that finds the stream changes nothing, where an insert would abort the whole transaction
        return UpdateOne({"_id": decision.stream}, {"$setOnInsert": head}, upsert=True)
    return UpdateOne({"_id": decision.stream, "version": decision.expected}, {"$set": head})
