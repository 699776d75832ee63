"""The command handler: load a stream, decide, append. Loaded streams are cached."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from cachetools import LRUCache
from pydantic_core import to_json

from contracts.errors import RequestRejected
from contracts.messages import Event, ReadModelRow
from libs.backoff import backoff_delays
from libs.eventstore.decider import (
    AnyCategory,
    AnyCommand,
    AnyEvent,
    Category,
    CommandMetadata,
    RecordedEvent,
    Reservation,
)
from libs.eventstore.store import CommitRef, DuplicateCommand, EventStore, PendingCommit, WrongExpectedVersion

log = logging.getLogger("headrace.eventstore")

MAX_ATTEMPTS = 50  # many, because another process that writes the stream often has it cached and wins most conflicts
MAX_CACHE_BYTES = 32 * 1024 * 1024  # cached streams of a process, as JSON; in memory they take several times as much
STREAM_OVERHEAD_BYTES = 512  # part of a loaded stream's size that does not depend on its row
EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)

C = TypeVar("C", bound=AnyCommand)
S = TypeVar("S")
E = TypeVar("E", bound=Event)
R = TypeVar("R", bound=ReadModelRow)


@dataclass(frozen=True, slots=True)
class LoadedStream(Generic[S, R]):
    version: int
    state: S
    row: R
    at: datetime = EARLIEST_TIME  # time of the last commit

    def apply_events(
        self, category: Category[C, S, E, R], new_events: Sequence[RecordedEvent[E]]
    ) -> "LoadedStream[S, R]":
        version, state, row, at = self.version, self.state, self.row, self.at
        for recorded in new_events:
            version, at = recorded.version, recorded.at
            state = category.decider.evolve(state, recorded.event)
            row = category.apply(row, recorded)
        return LoadedStream(version, state, row, at)


@dataclass(frozen=True, slots=True)
class CommandResult(Generic[R]):
    """The stream, version and row after a command, and the new events, including events of follow-ups; maybe none."""

    stream: str
    version: int
    row: R
    new_events: Sequence[AnyEvent]


FollowUp = tuple[AnyCategory, AnyCommand, CommandMetadata]
"""A command whose events are recorded in the transaction of the events that caused it."""

FollowUps = Callable[[Sequence[AnyEvent]], Awaitable[Sequence[FollowUp]]]
DecidedFollowUps = list[tuple[PendingCommit, LoadedStream[Any, Any]]]


async def no_follow_ups(_new_events: Sequence[AnyEvent]) -> Sequence[FollowUp]:
    return ()


class CommandHandler:
    def __init__(self, store: EventStore, on_conflict: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_conflict = on_conflict
        self._cache: LRUCache[str, LoadedStream[Any, Any]] = LRUCache(MAX_CACHE_BYTES, getsizeof=_estimate_size)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(
        self, category: Category[C, S, E, R], stream: str, *, until: int | None = None
    ) -> LoadedStream[S, R]:
        """Load the stream from its snapshot or the log, at its current version or `until`. No events give version 0."""
        if category.restore_state and (restored := await self._load_from_snapshot(category, stream, until)):
            return restored
        return _new_stream(category).apply_events(category, await self._store.read(stream, until=until))

    async def _load_from_snapshot(
        self, category: Category[C, S, E, R], stream: str, until: int | None
    ) -> LoadedStream[S, R] | None:
        """Load the stream from its snapshot. Return None if the snapshot is missing or newer than `until`."""
        snapshot = await self._store.read_snapshot(category, stream)
        if snapshot is None or category.restore_state is None or snapshot.version > (until or snapshot.version):
            return None
        events = await self._store.read(stream, after=snapshot.version - 1, until=until)
        newer = [recorded for recorded in events if recorded.version > snapshot.version]
        if len(newer) == len(events):
            return None  # the commit of the row is missing, and with it the time of the row
        restored = LoadedStream(snapshot.version, category.restore_state(snapshot.row), snapshot.row, events[0].at)
        return restored.apply_events(category, newer)

    async def find_commit(self, metadata: CommandMetadata) -> CommitRef | None:
        """Return the stream and version that a command produced when it was handled before, or None."""
        if not metadata.fingerprint:
            return await self._store.find(metadata)
        found = await asyncio.gather(  # in parallel, because usually neither exists
            self._store.find(metadata), self._store.find_noop(metadata.command_id)
        )
        return found[0] or found[1]

    async def find_result(self, category: Category[C, S, E, R], metadata: CommandMetadata) -> CommandResult[R] | None:
        """Return the result of a command that was handled before, or None. Raises the errors of `replay_result`."""
        commit = await self.find_commit(metadata)
        return await self.replay_result(category, commit, metadata) if commit else None

    async def handle(
        self,
        category: Category[C, S, E, R],
        command: C,
        metadata: CommandMetadata,
        follow_ups: FollowUps = no_follow_ups,
    ) -> CommandResult[R]:
        """Handle a command. `follow_ups` returns the commands to record in the same transaction.

        Raises RequestRejected, WrongExpectedVersion (after MAX_ATTEMPTS attempts), StoreUnavailable or OutcomeUnknown.
        RequestRejected has the code IDEMPOTENCY_KEY_REUSED if the command's id belongs to another request.
        """
        stream = category.decider.stream(command)
        async with self._lock_of(stream):  # commands of one process queue here instead of conflicting in the database
            try:
                result = await self._decide_and_append(category, stream, command, metadata, follow_ups)
                if result.new_events:
                    return result
                if earlier := await self._recheck_duplicate(category, metadata):
                    return earlier
                if metadata.fingerprint:
                    await self._store.record_noop(stream, result.version, metadata)
                return result
            except DuplicateCommand as duplicate:
                return await self.replay_result(category, duplicate.commit, metadata)
            except RequestRejected:
                if earlier := await self._recheck_duplicate(category, metadata):
                    return earlier
                raise

    def _lock_of(self, stream: str) -> asyncio.Lock:
        return self._locks.setdefault(stream, asyncio.Lock())

    async def _recheck_duplicate(
        self, category: Category[C, S, E, R], metadata: CommandMetadata
    ) -> CommandResult[R] | None:
        """Look up the command once more after it was rejected or had nothing to record.

        If the command has been recorded since the first lookup, its own effect is the reason.
        """
        return await self.find_result(category, metadata) if metadata.may_be_duplicate else None

    async def _decide_and_append(
        self,
        category: Category[C, S, E, R],
        stream: str,
        command: C,
        metadata: CommandMetadata,
        follow_ups: FollowUps,
    ) -> CommandResult[R]:
        loaded: LoadedStream[S, R] | None = self._cache.get(stream)
        is_current = loaded is None  # a cached state may be stale: decide again before a rejection or a no-op
        if loaded is None and isinstance(command, category.decider.initial_commands):
            loaded, is_current = _new_stream(category), False
        if loaded is None:
            loaded = await self.load(category, stream)
        # the command is decided again immediately after the first conflict, then after growing delays
        for delay in islice(chain((0.0,), backoff_delays(0.004, 0.1)), MAX_ATTEMPTS):
            events: Sequence[E]
            try:
                events = category.decider.decide(loaded.state, command)
            except RequestRejected:
                if is_current:
                    raise
                events = []
            if not events:
                if is_current:
                    self._cache_stream(stream, loaded)
                    return CommandResult(stream, loaded.version, loaded.row, ())
                loaded, is_current = await self._catch_up(category, stream, loaded), True
                continue
            commit, result = _build_commit(category, command, loaded, events, metadata)
            async with AsyncExitStack() as locks:
                decided = await self._decide_follow_ups(follow_ups, commit, locks)
                try:
                    await self._store.append(commit, *(other for other, _ in decided))
                except WrongExpectedVersion:
                    self._on_conflict()
                    await asyncio.sleep(delay)
                    loaded, is_current = await self._catch_up(category, stream, loaded), True
                    await self._require_kept(loaded, stream)
                    follow_ups = no_follow_ups  # after a conflict the follow-ups run as separate commands
                    continue
                except BaseException:
                    self._cache.pop(stream, None)
                    raise
                self._cache_stream(stream, result)
                new_events = commit.recorded_events
                for other, other_result in decided:
                    self._cache_stream(other.stream, other_result)
                    new_events += other.recorded_events
                return CommandResult(stream, result.version, result.row, new_events)
        raise WrongExpectedVersion(stream)

    async def _decide_follow_ups(
        self, follow_ups: FollowUps, commit: PendingCommit, locks: AsyncExitStack
    ) -> DecidedFollowUps:
        """Decide the follow-ups of a commit, and lock their streams. Those that must wait run as reactions later."""
        decided: DecidedFollowUps = []
        try:
            for category, command, metadata in await follow_ups(commit.recorded_events):
                stream, loaded = category.decider.stream(command), _new_stream(category)
                if not isinstance(command, category.decider.initial_commands):
                    if (lock := self._lock_of(stream)).locked():
                        continue  # a command of this process holds the lock and may change the stream
                    await locks.enter_async_context(lock)
                    loaded = await self._catch_up(category, stream, self._cache.get(stream, loaded))
                with suppress(RequestRejected):  # the reaction that runs later reports the rejection
                    if events := category.decider.decide(loaded.state, command):
                        decided.append(_build_commit(category, command, loaded, events, metadata))
        except Exception as error:  # a reaction that fails must not prevent its cause; the subscription runs it again
            log.warning("follow-ups of %s failed (%s)", commit.stream, type(error).__name__, exc_info=error)
            return []
        return decided

    async def _catch_up(
        self, category: Category[C, S, E, R], stream: str, loaded: LoadedStream[S, R]
    ) -> LoadedStream[S, R]:
        return loaded.apply_events(category, await self._store.read(stream, after=loaded.version))

    async def replay_result(
        self, category: Category[C, S, E, R], commit: CommitRef, metadata: CommandMetadata
    ) -> CommandResult[R]:
        """Return the result of an earlier command. Raises RequestRejected (IDEMPOTENCY_KEY_REUSED or NOT_FOUND)."""
        if metadata.fingerprint and commit.fingerprint != metadata.fingerprint:
            raise RequestRejected("IDEMPOTENCY_KEY_REUSED")
        loaded = await self.load(category, commit.stream, until=commit.version)
        await self._require_kept(loaded, commit.stream)
        return CommandResult(commit.stream, commit.version, loaded.row, ())

    async def _require_kept(self, loaded: LoadedStream[S, R], stream: str) -> None:
        """Raise RequestRejected with NOT_FOUND if the stream is empty because it was removed from the log."""
        if loaded.version == 0 and await self._store.is_removed(stream):
            raise RequestRejected("NOT_FOUND", "The object was deleted and removed after its retention time.")

    def _cache_stream(self, stream: str, loaded: LoadedStream[S, R]) -> None:
        try:
            self._cache[stream] = loaded
        except ValueError:  # the stream is larger than the whole cache
            self._cache.pop(stream, None)


def _estimate_size(loaded: LoadedStream[S, R]) -> int:
    """Estimate the bytes of a loaded stream. The state is about as large as the row."""
    return STREAM_OVERHEAD_BYTES + 2 * len(to_json(loaded.row))


def _new_stream(category: Category[C, S, E, R]) -> LoadedStream[S, R]:
    return LoadedStream(0, category.decider.initial, category.initial_row)


def _build_commit(
    category: Category[C, S, E, R],
    command: C,
    before: LoadedStream[S, R],
    events: Sequence[E],
    metadata: CommandMetadata,
) -> tuple[PendingCommit, LoadedStream[S, R]]:
    stream, document = category.decider.stream(command), category.decider.new_document(command)
    reservations: list[Reservation] = []
    state = before.state
    for event in events:
        reservations += category.decider.reservations(state, event)
        state = category.decider.evolve(state, event)
    version = before.version + 1
    metadata = replace(metadata, actor=metadata.actor.as_recorded)
    if metadata.at < before.at:
        metadata = replace(metadata, at=before.at)  # host clocks differ; times within a stream never decrease
    row = before.row
    for index, event in enumerate(events):
        row = category.apply(row, RecordedEvent(stream, version, index, event, metadata))
    visible_row = None if category.is_deleted(row) else row
    return (
        PendingCommit(category, stream, before.version, events, metadata, visible_row, reservations, document),
        LoadedStream(version, state, row, metadata.at),
    )
