"""Group commit: all decisions that wait are written in one MongoDB transaction, each with its own outcome."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from random import uniform
from typing import Any, NamedTuple

import pymongo
from pymongo import DeleteOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, ExecutionTimeout, PyMongoError

from contracts.errors import Refused
from libs.deciding import Claim, Release, Take
from libs.eventstore.documents import FOUND, Document, commit_of, to_document
from libs.eventstore.store import Commit, Conflict, Decision, OutcomeUnknown, Repeated, Unavailable
from libs.security.sealing import Sealing

MAX_BATCH_SIZE = 500  # decisions
PATIENCE = 8.0  # seconds for one transaction with all its retries, also while the database fails over
LOOKUP_TIMEOUT = 3.0  # seconds to find out which commits of unknown outcome are in the log
TRIES_TOGETHER = 6
MAX_INDIVIDUAL = 16  # transactions side by side, so that connections of the pool are left for other callers
MAX_BACKOFF = 0.4  # seconds

Lost = dict[str, Exception]  # command id -> why its decision was not recorded


class Waiting(NamedTuple):
    decisions: Sequence[Decision]  # recorded together or not at all
    documents: Sequence[Document]
    outcome: "asyncio.Future[None]"

    def why(self, lost: Lost) -> Exception | None:
        return next((lost[id_] for one in self.decisions if (id_ := one.cause.command_id) in lost), None)

    def torn(self, lost: Lost) -> bool:
        return len({one.cause.command_id in lost for one in self.decisions}) > 1


class Locked(Exception):
    """Another transaction, of a process that is slow or dead, holds what one of the batch needs."""


class Torn(Exception):
    """Of decisions that belong together only some found their streams as expected."""


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
        self._apart: set[asyncio.Task[None]] = set()
        self._individual = asyncio.Semaphore(MAX_INDIVIDUAL)
        self._writer: asyncio.Task[None] | None = None

    async def append(self, *decisions: Decision) -> None:
        documents = [await to_document(one, self._vault) for one in decisions]
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(decisions, documents, outcome))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        # a caller that gives up must not take the batch with it
        await asyncio.shield(outcome)

    async def drain(self) -> None:
        """Wait until everything handed in is written or refused."""
        while busy := {*self._apart, *([self._writer] if self._writer else [])}:
            await asyncio.wait(busy)

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    outcomes = await self._transact(batch, tries=TRIES_TOGETHER)
                except Exception as error:
                    if _away(error):
                        outcomes = await self._verdicts(batch, error)
                    else:
                        self._part(batch)
                        continue
                _tell(batch, outcomes)
        finally:
            self._writer = None

    def _part(self, batch: Sequence[Waiting]) -> None:
        """Nothing was written: each goes on alone, so that the one at fault, or one that waits, holds up no other.

        A process that was killed within a transaction leaves its streams locked until the database gives it up.
        """
        for one in batch:
            task = asyncio.create_task(self._write_alone(one))
            self._apart.add(task)
            task.add_done_callback(self._apart.discard)

    async def _write_alone(self, one: Waiting) -> None:
        """Try with backoff: a locked stream uses no connection between the tries."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        outcomes: Sequence[Exception | None] | None = None
        for attempt in count():
            async with self._individual:
                try:
                    outcomes = await self._transact([one], tries=1, within=max(deadline - loop.time(), 1.0))
                except Exception as error:
                    if not isinstance(error, Locked) or loop.time() >= deadline:
                        outcomes = await self._verdicts([one], error)
            if outcomes is not None:
                _tell([one], outcomes)
                return
            await asyncio.sleep(uniform(0.5, 1) * min(MAX_BACKOFF, 0.01 * 2**attempt))  # noqa: S311

    def _next_batch(self) -> list[Waiting]:
        """The longest-waiting decisions that have no stream, name or command id in common; the others come next."""
        batch: list[Waiting] = []
        rest: list[Waiting] = []
        touched: set[str] = set()
        size = 0
        for one in self._waiting:
            touches = {
                key
                for decision in one.decisions
                for key in (decision.stream, decision.cause.command_id, *(claim.key for claim in decision.claims))
            }
            fits = not batch or size + len(one.decisions) <= MAX_BATCH_SIZE
            if fits and touched.isdisjoint(touches):
                batch.append(one)
                size += len(one.decisions)
            else:
                rest.append(one)
            touched |= touches
        self._waiting = rest
        return batch

    async def _verdicts(self, batch: Sequence[Waiting], error: Exception) -> list[Exception | None]:
        """What an error of the transaction means to each of the batch; the log is asked once for all of them."""
        firsts = [one.decisions[0] for one in batch]
        match error:
            case PyMongoError() if error.has_error_label("UnknownTransactionCommitResult"):
                verdict: type[Exception] = OutcomeUnknown
            case DuplicateKeyError() | BulkWriteError() | Torn():
                verdict = Conflict
            case PyMongoError() | Locked():
                return [_because(error, Unavailable(str(error))) for _ in batch]
            case _:
                return [error for _ in batch]  # a defect of this one command, such as a value that MongoDB cannot hold
        try:
            found = await self._find_commits([one.cause.command_id for one in firsts])
        except PyMongoError:
            found = {}
        return [_verdict(one, verdict, found.get(one.cause.command_id), error) for one in firsts]

    async def _find_commits(self, command_ids: Sequence[str]) -> Mapping[str, Commit]:
        with pymongo.timeout(LOOKUP_TIMEOUT):
            found = await self._commits.find({"_id": {"$in": command_ids}}, FOUND).to_list()
        return {one["_id"]: commit_of(one) for one in found}

    async def _transact(self, batch: Sequence[Waiting], *, tries: int, within: float = 0.0) -> list[Exception | None]:
        """Raises Locked when others held one of the streams or names at each of so many tries."""
        attempts = count(1)

        async def body(session: AsyncClientSession) -> list[Exception | None]:
            if next(attempts) > tries:
                raise Locked("another transaction holds the stream or a name")
            lost = await self._without_names(_decisions(batch), session)
            racing = _left(batch, lost)
            overtaken = await self._move_heads(_decisions(racing), session)
            if overtaken and any(one.torn(overtaken) for one in racing):
                raise Torn
            if lost := lost | overtaken:
                lost |= await self._repeated(list(lost), session)
            if won := _left(batch, lost):
                await self._keep_names(_decisions(won), session)
                documents = [document for one in won for document in one.documents]
                await self._commits.insert_many(documents, ordered=False, session=session)
            return [one.why(lost) for one in batch]

        with pymongo.timeout(within or PATIENCE):
            async with self._client.start_session() as session:
                return await session.with_transaction(body)

    async def _move_heads(self, decisions: Sequence[Decision], session: AsyncClientSession) -> Lost:
        if not decisions:
            return {}
        result = await self._streams.bulk_write([_head(one) for one in decisions], ordered=False, session=session)
        if result.upserted_count + result.modified_count == len(decisions):
            return {}
        heads = self._streams.find({"_id": {"$in": [one.stream for one in decisions]}}, {"commit": 1}, session=session)
        moved = {head["commit"] async for head in heads}
        return {one.cause.command_id: Conflict(one.stream) for one in decisions if one.cause.command_id not in moved}

    async def _repeated(self, command_ids: Sequence[str], session: AsyncClientSession) -> Lost:
        """A command that was recorded before answers as before, whatever else stands against it now."""
        found = self._commits.find({"_id": {"$in": command_ids}}, FOUND, session=session)
        return {one["_id"]: Repeated(commit_of(one)) async for one in found}

    async def _without_names(self, decisions: Sequence[Decision], session: AsyncClientSession) -> Lost:
        """Decisions that want a name which belongs to another stream, with the code of their refusal."""
        wanted = [claim.key for one in decisions for claim in one.claims if isinstance(claim, Take)]
        if not wanted:
            return {}
        owners = {
            found["_id"]: found["stream"]
            async for found in self._claims.find({"_id": {"$in": wanted}}, session=session)
        }
        return {
            one.cause.command_id: Refused(claim.code)
            for one in decisions
            for claim in reversed(one.claims)  # the first one has the word
            if isinstance(claim, Take) and owners.get(claim.key, one.stream) != one.stream
        }

    async def _keep_names(self, decisions: Sequence[Decision], session: AsyncClientSession) -> None:
        writes = [_name(claim, one.stream) for one in decisions for claim in _last_of_each_name(one.claims)]
        if writes:
            await self._claims.bulk_write(writes, ordered=False, session=session)


def _tell(batch: Sequence[Waiting], outcomes: Sequence[Exception | None]) -> None:
    for (_, _, future), outcome in zip(batch, outcomes, strict=True):
        if outcome is None:
            future.set_result(None)
        else:
            future.set_exception(outcome)
            future.exception()  # retrieved: a caller that went away is no news


def _verdict(decision: Decision, verdict: type[Exception], found: Commit | None, error: Exception) -> Exception | None:
    if found is None:
        return _because(error, verdict(decision.stream))
    written = verdict is OutcomeUnknown and found == Commit(decision.stream, decision.version)
    return None if written else Repeated(found)


def _left(batch: Sequence[Waiting], lost: Lost) -> list[Waiting]:
    return [one for one in batch if not one.why(lost)]


def _decisions(batch: Sequence[Waiting]) -> list[Decision]:
    return [decision for one in batch for decision in one.decisions]


def _away(error: Exception) -> bool:
    """The database went away or was too slow: trying each decision alone would only make them wait longer."""
    return isinstance(error, ConnectionFailure | ExecutionTimeout) or (
        isinstance(error, PyMongoError)
        and (
            error.has_error_label("TransientTransactionError")
            or error.has_error_label("UnknownTransactionCommitResult")
        )
    )


def _because(error: Exception, verdict: Exception) -> Exception:
    verdict.__cause__ = error
    return verdict


def _last_of_each_name(claims: Sequence[Claim]) -> list[Claim]:
    """Taking and releasing the same name within one decision: what comes last holds."""
    return list({claim.key: claim for claim in claims}.values())


def _name(claim: Claim, stream: str) -> Any:
    match claim:
        case Take(key=key):
            # the stream may have the name already; a name that another stream took meanwhile aborts the transaction
            return UpdateOne({"_id": key, "stream": stream}, {"$set": {"stream": stream}}, upsert=True)
        case Release(key=key):
            return DeleteOne({"_id": key, "stream": stream})


def _head(decision: Decision) -> UpdateOne:
    category = decision.category
    head = {
        "version": decision.version,
        "commit": decision.cause.command_id,
        category.row_field: decision.row.model_dump() if decision.row is not None else None,
        category.written_field: category.row_version,
    }
    if former := category.former:
        row = former.of(decision.row) if decision.row is not None else None
        head[former.field(category.name)] = row.model_dump() if row is not None else None
    if decision.expected == 0:
        # an upsert that finds the stream changes nothing, where an insert would abort the whole transaction
        return UpdateOne({"_id": decision.stream}, {"$setOnInsert": head}, upsert=True)
    return UpdateOne({"_id": decision.stream, "version": decision.expected}, {"$set": head})
