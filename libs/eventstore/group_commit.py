"""Group commit: write all pending commits in one MongoDB transaction, each with its own result."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

import pymongo
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, ExecutionTimeout, PyMongoError

from libs.backoff import backoff_delays
from libs.documents import Document
from libs.eventstore.mapping import REACTION_ID, REF_FIELDS, commits_filter, head_write, read_commit_ref, to_document
from libs.eventstore.reservations import Rejections, Reservations
from libs.eventstore.store import (
    CommitRef,
    DuplicateCommand,
    OutcomeUnknown,
    PendingCommit,
    StoreUnavailable,
    WrongExpectedVersion,
)
from libs.security.envelope_encryption import Encryption

MAX_BATCH_SIZE = 500  # commits in one transaction
TRANSACTION_TIMEOUT_SECONDS = 8.0  # limit of one transaction with its retries, also during a database failover
LOOKUP_TIMEOUT_SECONDS = 3.0  # limit for finding out which commits of a failed transaction were written
MAX_BATCH_ATTEMPTS = 6
MAX_INDIVIDUAL_TRANSACTIONS = 16  # at the same time; other callers use the pool's other connections
OUTAGE_LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult")


class PendingAppend(NamedTuple):
    """Commits of one caller, with the future that gets the result."""

    commits: Sequence[PendingCommit]  # written together or not at all
    documents: Sequence[Document]
    outcome: "asyncio.Future[None]"

    def failure(self, rejections: Rejections) -> Exception | None:
        ids = (commit.metadata.command_id for commit in self.commits)
        return next((rejections[id_] for id_ in ids if id_ in rejections), None)

    def is_partial(self, rejections: Rejections) -> bool:
        """Return whether some but not all of the commits are rejected."""
        return len({commit.metadata.command_id in rejections for commit in self.commits}) > 1


class LockContention(Exception):
    """A stream or reservation of the batch is locked by another transaction, possibly of a slow or dead process."""


class PartialConflict(Exception):
    """Only some of the commits that must be written together found their streams at the expected version."""


class GroupCommitter:
    """Writes the commits of one process. The commits that arrive during one transaction form the next batch.

    The stream's document serves as the lock: a commit that does not find it at the expected version is left out of the
    transaction without aborting the others. The unique index on (stream, version) is the safety net.
    """

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self._client = database.client
        self._streams = database["streams"]
        self._commits = database["commits"]
        self._reservations = Reservations(database)
        self._vault = vault
        self._pending: list[PendingAppend] = []
        self._individual_tasks: set[asyncio.Task[None]] = set()
        self._individual_slots = asyncio.Semaphore(MAX_INDIVIDUAL_TRANSACTIONS)
        self._writer: asyncio.Task[None] | None = None

    async def append(self, *commits: PendingCommit) -> None:
        """Write the commits together or not at all. Raises the errors of EventStore.append."""
        documents = [await to_document(commit, self._vault) for commit in commits]
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append(PendingAppend(commits, documents, outcome))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())
        # a canceled caller must not cancel the batch
        await asyncio.shield(outcome)

    async def drain(self) -> None:
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
        """Write each append in its own transaction, so that a failing or blocked append does not delay the others.

        A process killed within a transaction leaves its streams locked until the database aborts the transaction.
        """
        for pending in batch:
            task = asyncio.create_task(self._write_single(pending))
            self._individual_tasks.add(task)
            task.add_done_callback(self._individual_tasks.discard)

    async def _write_single(self, pending: PendingAppend) -> None:
        """Write one append, with retries and backoff on lock contention. No connection is held between attempts."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TRANSACTION_TIMEOUT_SECONDS
        outcomes: Sequence[Exception | None] | None = None
        for delay in backoff_delays(0.01, 0.4):
            async with self._individual_slots:
                try:
                    timeout = max(deadline - loop.time(), 1.0)
                    outcomes = await self._transact([pending], max_attempts=1, timeout=timeout)
                except Exception as error:
                    if not isinstance(error, LockContention) or loop.time() >= deadline:
                        outcomes = await self._classify_failures([pending], error)
            if outcomes is not None:
                _resolve([pending], outcomes)
                return
            await asyncio.sleep(delay)

    def _take_batch(self) -> list[PendingAppend]:
        """Take the oldest pending appends that have no stream, reservation or command id in common.

        They contain MAX_BATCH_SIZE commits at most, but at least one append is taken.
        """
        batch: list[PendingAppend] = []
        rest: list[PendingAppend] = []
        used: set[str] = set()
        size = 0
        for pending in self._pending:
            keys = {
                key
                for commit in pending.commits
                for key in (
                    commit.stream,
                    commit.metadata.command_id,
                    *(reservation.key for reservation in commit.reservations),
                )
            }
            fits = not batch or size + len(pending.commits) <= MAX_BATCH_SIZE
            if fits and used.isdisjoint(keys):
                batch.append(pending)
                size += len(pending.commits)
            else:
                rest.append(pending)
            used |= keys
        self._pending = rest
        return batch

    async def _classify_failures(self, batch: Sequence[PendingAppend], error: Exception) -> list[Exception | None]:
        """Map a transaction's error to one result per append, with a single query to the log."""
        firsts = [pending.commits[0] for pending in batch]
        match error:
            case PyMongoError() if error.has_error_label("UnknownTransactionCommitResult"):
                failure: type[Exception] = OutcomeUnknown
            case DuplicateKeyError() | BulkWriteError() | PartialConflict():
                failure = WrongExpectedVersion
            case PyMongoError() | LockContention():
                return [_caused_by(error, StoreUnavailable(str(error))) for _ in batch]
            case _:
                # a new document exists, or a defect of this command, such as a value that BSON cannot represent
                return [error for _ in batch]
        try:
            with pymongo.timeout(LOOKUP_TIMEOUT_SECONDS):
                found = await self._find_commits(firsts)
        except PyMongoError:
            found = {}
        return [_classify_failure(commit, failure, found.get(commit.metadata.command_id), error) for commit in firsts]

    async def _find_commits(
        self, commits: Sequence[PendingCommit], session: AsyncClientSession | None = None
    ) -> Mapping[str, CommitRef]:
        """Return what the commands of these commits have recorded before, by command id."""
        commands = [commit.metadata for commit in commits]
        found: dict[str, CommitRef] = {}
        async for document in self._commits.find(commits_filter(commands), REF_FIELDS, session=session):
            ref = read_commit_ref(document)
            found |= {document[name]: ref for name in ("_id", REACTION_ID) if name in document}
        return {
            command.command_id: found[id_]
            for command in commands
            for id_ in (command.command_id, command.reaction_id)
            if id_ in found
        }

    async def _transact(
        self, batch: Sequence[PendingAppend], *, max_attempts: int, timeout: float = 0.0
    ) -> list[Exception | None]:
        """Write a batch in one transaction. Return one result per append.

        Raises LockContention, PartialConflict, RequestRejected (a new document exists) or an error of the driver.
        """
        attempts = count(1)

        async def body(session: AsyncClientSession) -> list[Exception | None]:
            if next(attempts) > max_attempts:
                raise LockContention("another transaction holds a lock on the stream or a reservation")
            rejections = await self._reservations.check(_all_commits(batch), session)
            candidates = _remaining(batch, rejections)
            conflicts = await self._advance_heads(_all_commits(candidates), session)
            if conflicts and any(pending.is_partial(conflicts) for pending in candidates):
                raise PartialConflict
            if rejections := rejections | conflicts:
                # a command that is in the log was rejected by its own effect
                rejected = [commit for commit in _all_commits(batch) if commit.metadata.command_id in rejections]
                duplicates = await self._find_commits(rejected, session)
                rejections |= {command_id: DuplicateCommand(commit) for command_id, commit in duplicates.items()}
            if accepted := _remaining(batch, rejections):
                await self._reservations.apply(_all_commits(accepted), session)
                documents = [document for pending in accepted for document in pending.documents]
                await self._commits.insert_many(documents, ordered=False, session=session)
                await self._reservations.insert_documents(_all_commits(accepted), session)
            return [pending.failure(rejections) for pending in batch]

        with pymongo.timeout(timeout or TRANSACTION_TIMEOUT_SECONDS):
            async with self._client.start_session() as session:
                return await session.with_transaction(body)

    async def _advance_heads(self, commits: Sequence[PendingCommit], session: AsyncClientSession) -> Rejections:
        """Update the stream documents. Reject commits whose stream is not at the expected version."""
        if not commits:
            return {}
        writes = [head_write(commit) for commit in commits]
        result = await self._streams.bulk_write(writes, ordered=False, session=session)
        if result.upserted_count + result.modified_count == len(commits):
            return {}
        streams = {"_id": {"$in": [commit.stream for commit in commits]}}
        heads = self._streams.find(streams, {"commit": 1}, session=session)
        advanced = {head["commit"] async for head in heads}
        return {
            commit.metadata.command_id: WrongExpectedVersion(commit.stream)
            for commit in commits
            if commit.metadata.command_id not in advanced
        }


def _resolve(batch: Sequence[PendingAppend], outcomes: Sequence[Exception | None]) -> None:
    for (_, _, future), outcome in zip(batch, outcomes, strict=True):
        if outcome is None:
            future.set_result(None)
        else:
            future.set_exception(outcome)
            future.exception()  # mark as retrieved: the caller may have been canceled


def _classify_failure(
    commit: PendingCommit, failure: type[Exception], found: CommitRef | None, error: Exception
) -> Exception | None:
    """Return the result of a commit after a failed transaction; None if the log shows that it was written."""
    if found is None:
        return _caused_by(error, failure(commit.stream))
    written = failure is OutcomeUnknown and found == CommitRef(commit.stream, commit.version)
    return None if written else DuplicateCommand(found)


def _remaining(batch: Sequence[PendingAppend], rejections: Rejections) -> list[PendingAppend]:
    return [pending for pending in batch if not pending.failure(rejections)]


def _all_commits(batch: Sequence[PendingAppend]) -> list[PendingCommit]:
    return [commit for pending in batch for commit in pending.commits]


def _is_outage(error: Exception) -> bool:
    """Return whether the database is unavailable or too slow, so that individual retries would not help."""
    return isinstance(error, ConnectionFailure | ExecutionTimeout) or (
        isinstance(error, PyMongoError) and any(error.has_error_label(label) for label in OUTAGE_LABELS)
    )


def _caused_by(cause: Exception, error: Exception) -> Exception:
    error.__cause__ = cause
    return error
