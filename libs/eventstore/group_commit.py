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

from contracts.errors import RequestRejected
from libs.eventstore.decider import Release, Reservation, Reserve
from libs.eventstore.mapping import REF_FIELDS, Document, read_commit_ref, to_document
from libs.eventstore.store import (
    CommitRef,
    DuplicateCommand,
    OutcomeUnknown,
    PendingCommit,
    StoreUnavailable,
    WrongExpectedVersion,
)
from libs.security.envelope_encryption import Encryption

MAX_BATCH_SIZE = 500  # decisions
TRANSACTION_TIMEOUT_SECONDS = (
    8.0  # seconds for one transaction with all its retries, also while the database fails over
)
LOOKUP_TIMEOUT_SECONDS = 3.0  # seconds to find out which commits of unknown outcome are in the log
MAX_BATCH_ATTEMPTS = 6
MAX_INDIVIDUAL_TRANSACTIONS = (
    16  # transactions side by side, so that connections of the pool are left for other callers
)
MAX_BACKOFF_SECONDS = 0.4  # seconds

Rejections = dict[str, Exception]  # command id -> why its decision was not recorded


class PendingAppend(NamedTuple):
    commits: Sequence[PendingCommit]  # recorded together or not at all
    documents: Sequence[Document]
    outcome: "asyncio.Future[None]"

    def failure(self, rejections: Rejections) -> Exception | None:
        return next((rejections[id_] for one in self.commits if (id_ := one.metadata.command_id) in rejections), None)

    def is_partial(self, rejections: Rejections) -> bool:
        return len({one.metadata.command_id in rejections for one in self.commits}) > 1


class LockContention(Exception):
    """Another transaction, of a process that is slow or dead, holds what one of the batch needs."""


class PartialConflict(Exception):
    """Of decisions that belong together only some found their streams as expected."""


class GroupCommitter:
    """One per process. It starts at once and batches only what piled up meanwhile; it has no timer.

    The head document of a stream is the lock: who does not find it at the expected version is left out of the
    transaction without aborting the others. The unique index on (stream, version) is the safety net below.
    """

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self._client = database.client
        self._streams = database["streams"]
        self._commits = database["commits"]
        self._reservations = database["claims"]
        self._vault = vault
        self._pending: list[PendingAppend] = []
        self._individual_tasks: set[asyncio.Task[None]] = set()
        self._individual_slots = asyncio.Semaphore(MAX_INDIVIDUAL_TRANSACTIONS)
        self._writer: asyncio.Task[None] | None = None

    async def append(self, *decisions: PendingCommit) -> None:
        documents = [await to_document(one, self._vault) for one in decisions]
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(PendingAppend(decisions, documents, outcome))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        # a caller that gives up must not take the batch with it
        await asyncio.shield(outcome)

    async def drain(self) -> None:
        """Wait until everything handed in is written or refused."""
        while busy := {*self._individual_tasks, *([self._writer] if self._writer else [])}:
            await asyncio.wait(busy)

    async def _write_all(self) -> None:
        try:
            while self._pending:
                batch = self._take_batch()
                try:
                    outcomes = await self._transact(batch, max_attempts=MAX_BATCH_ATTEMPTS)
                except Exception as error:
                    if _is_outage(error):
                        outcomes = await self._classify_failures(batch, error)
                    else:
                        self._retry_individually(batch)
                        continue
                _resolve(batch, outcomes)
        finally:
            self._writer = None

    def _retry_individually(self, batch: Sequence[PendingAppend]) -> None:
        """Nothing was written: each goes on alone, so that the one at fault, or one that waits, holds up no other.

        A process that was killed within a transaction leaves its streams locked until the database gives it up.
        """
        for one in batch:
            task = asyncio.create_task(self._write_single(one))
            self._individual_tasks.add(task)
            task.add_done_callback(self._individual_tasks.discard)

    async def _write_single(self, one: PendingAppend) -> None:
        """Try with backoff: a locked stream uses no connection between the tries."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TRANSACTION_TIMEOUT_SECONDS
        outcomes: Sequence[Exception | None] | None = None
        for attempt in count():
            async with self._individual_slots:
                try:
                    outcomes = await self._transact([one], max_attempts=1, timeout=max(deadline - loop.time(), 1.0))
                except Exception as error:
                    if not isinstance(error, LockContention) or loop.time() >= deadline:
                        outcomes = await self._classify_failures([one], error)
            if outcomes is not None:
                _resolve([one], outcomes)
                return
            await asyncio.sleep(uniform(0.5, 1) * min(MAX_BACKOFF_SECONDS, 0.01 * 2**attempt))  # noqa: S311

    def _take_batch(self) -> list[PendingAppend]:
        """The longest-waiting decisions that have no stream, name or command id in common; the others come next."""
        batch: list[PendingAppend] = []
        rest: list[PendingAppend] = []
        touched: set[str] = set()
        size = 0
        for one in self._pending:
            touches = {
                key
                for decision in one.commits
                for key in (
                    decision.stream,
                    decision.metadata.command_id,
                    *(claim.key for claim in decision.reservations),
                )
            }
            fits = not batch or size + len(one.commits) <= MAX_BATCH_SIZE
            if fits and touched.isdisjoint(touches):
                batch.append(one)
                size += len(one.commits)
            else:
                rest.append(one)
            touched |= touches
        self._pending = rest
        return batch

    async def _classify_failures(self, batch: Sequence[PendingAppend], error: Exception) -> list[Exception | None]:
        """What an error of the transaction means to each of the batch; the log is asked once for all of them."""
        firsts = [one.commits[0] for one in batch]
        match error:
            case PyMongoError() if error.has_error_label("UnknownTransactionCommitResult"):
                verdict: type[Exception] = OutcomeUnknown
            case DuplicateKeyError() | BulkWriteError() | PartialConflict():
                verdict = WrongExpectedVersion
            case PyMongoError() | LockContention():
                return [_caused_by(error, StoreUnavailable(str(error))) for _ in batch]
            case _:
                return [error for _ in batch]  # a defect of this one command, such as a value that MongoDB cannot hold
        try:
            found = await self._find_commits([one.metadata.command_id for one in firsts])
        except PyMongoError:
            found = {}
        return [_classify_failure(one, verdict, found.get(one.metadata.command_id), error) for one in firsts]

    async def _find_commits(self, command_ids: Sequence[str]) -> Mapping[str, CommitRef]:
        with pymongo.timeout(LOOKUP_TIMEOUT_SECONDS):
            found = await self._commits.find({"_id": {"$in": command_ids}}, REF_FIELDS).to_list()
        return {one["_id"]: read_commit_ref(one) for one in found}

    async def _transact(
        self, batch: Sequence[PendingAppend], *, max_attempts: int, timeout: float = 0.0
    ) -> list[Exception | None]:
        """Raises Locked when others held one of the streams or names at each of so many tries."""
        attempts = count(1)

        async def body(session: AsyncClientSession) -> list[Exception | None]:
            if next(attempts) > max_attempts:
                raise LockContention("another transaction holds the stream or a name")
            lost = await self._check_reservations(_all_commits(batch), session)
            racing = _remaining(batch, lost)
            overtaken = await self._advance_heads(_all_commits(racing), session)
            if overtaken and any(one.is_partial(overtaken) for one in racing):
                raise PartialConflict
            if lost := lost | overtaken:
                lost |= await self._find_duplicates(list(lost), session)
            if won := _remaining(batch, lost):
                await self._apply_reservations(_all_commits(won), session)
                documents = [document for one in won for document in one.documents]
                await self._commits.insert_many(documents, ordered=False, session=session)
            return [one.failure(lost) for one in batch]

        with pymongo.timeout(timeout or TRANSACTION_TIMEOUT_SECONDS):
            async with self._client.start_session() as session:
                return await session.with_transaction(body)

    async def _advance_heads(self, decisions: Sequence[PendingCommit], session: AsyncClientSession) -> Rejections:
        if not decisions:
            return {}
        result = await self._streams.bulk_write([_head_write(one) for one in decisions], ordered=False, session=session)
        if result.upserted_count + result.modified_count == len(decisions):
            return {}
        heads = self._streams.find({"_id": {"$in": [one.stream for one in decisions]}}, {"commit": 1}, session=session)
        moved = {head["commit"] async for head in heads}
        return {
            one.metadata.command_id: WrongExpectedVersion(one.stream)
            for one in decisions
            if one.metadata.command_id not in moved
        }

    async def _find_duplicates(self, command_ids: Sequence[str], session: AsyncClientSession) -> Rejections:
        """A command that was recorded before answers as before, whatever else stands against it now."""
        found = self._commits.find({"_id": {"$in": command_ids}}, REF_FIELDS, session=session)
        return {one["_id"]: DuplicateCommand(read_commit_ref(one)) async for one in found}

    async def _check_reservations(self, decisions: Sequence[PendingCommit], session: AsyncClientSession) -> Rejections:
        """Decisions that want a name which belongs to another stream, with the code of their refusal."""
        wanted = [claim.key for one in decisions for claim in one.reservations if isinstance(claim, Reserve)]
        if not wanted:
            return {}
        owners = {
            found["_id"]: found["stream"]
            async for found in self._reservations.find({"_id": {"$in": wanted}}, session=session)
        }
        return {
            one.metadata.command_id: RequestRejected(claim.code)
            for one in decisions
            for claim in reversed(one.reservations)  # the first one has the word
            if isinstance(claim, Reserve) and owners.get(claim.key, one.stream) != one.stream
        }

    async def _apply_reservations(self, decisions: Sequence[PendingCommit], session: AsyncClientSession) -> None:
        writes = [
            _reservation_write(claim, one.stream)
            for one in decisions
            for claim in _final_reservations(one.reservations)
        ]
        if writes:
            await self._reservations.bulk_write(writes, ordered=False, session=session)


def _resolve(batch: Sequence[PendingAppend], outcomes: Sequence[Exception | None]) -> None:
    for (_, _, future), outcome in zip(batch, outcomes, strict=True):
        if outcome is None:
            future.set_result(None)
        else:
            future.set_exception(outcome)
            future.exception()  # retrieved: a caller that went away is no news


def _classify_failure(
    decision: PendingCommit, verdict: type[Exception], found: CommitRef | None, error: Exception
) -> Exception | None:
    if found is None:
        return _caused_by(error, verdict(decision.stream))
    written = verdict is OutcomeUnknown and found == CommitRef(decision.stream, decision.version)
    return None if written else DuplicateCommand(found)


def _remaining(batch: Sequence[PendingAppend], lost: Rejections) -> list[PendingAppend]:
    return [one for one in batch if not one.failure(lost)]


def _all_commits(batch: Sequence[PendingAppend]) -> list[PendingCommit]:
    return [decision for one in batch for decision in one.commits]


def _is_outage(error: Exception) -> bool:
    """The database went away or was too slow: trying each decision alone would only make them wait longer."""
    return isinstance(error, ConnectionFailure | ExecutionTimeout) or (
        isinstance(error, PyMongoError)
        and (
            error.has_error_label("TransientTransactionError")
            or error.has_error_label("UnknownTransactionCommitResult")
        )
    )


def _caused_by(error: Exception, verdict: Exception) -> Exception:
    verdict.__cause__ = error
    return verdict


def _final_reservations(claims: Sequence[Reservation]) -> list[Reservation]:
    """Taking and releasing the same name within one decision: what comes last holds."""
    return list({claim.key: claim for claim in claims}.values())


def _reservation_write(claim: Reservation, stream: str) -> Any:
    match claim:
        case Reserve(key=key):
            # the stream may have the name already; a name that another stream took meanwhile aborts the transaction
            return UpdateOne({"_id": key, "stream": stream}, {"$set": {"stream": stream}}, upsert=True)
        case Release(key=key):
            return DeleteOne({"_id": key, "stream": stream})


def _head_write(decision: PendingCommit) -> UpdateOne:
    category = decision.category
    head = {
        "version": decision.version,
        "commit": decision.metadata.command_id,
        category.row_field: decision.row.model_dump() if decision.row is not None else None,
        category.row_version_field: category.row_version,
    }
    if former := category.previous_row:
        row = former.convert(decision.row) if decision.row is not None else None
        head[former.field_name(category.name)] = row.model_dump() if row is not None else None
    if decision.expected_version == 0:
        # an upsert that finds the stream changes nothing, where an insert would abort the whole transaction
        return UpdateOne({"_id": decision.stream}, {"$setOnInsert": head}, upsert=True)
    return UpdateOne({"_id": decision.stream, "version": decision.expected_version}, {"$set": head})
