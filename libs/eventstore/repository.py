"""The one command handler: load, decide, append, with folded states kept while their version still fits."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import uniform
from typing import Any
from weakref import WeakValueDictionary

from cachetools import LRUCache
from pydantic_core import to_json

from contracts.errors import RequestRejected
from contracts.messages import Command, ReadModelRow
from libs.eventstore.decider import Category, CommandMetadata, RecordedEvent, Reservation
from libs.eventstore.store import CommitRef, DuplicateCommand, EventStore, PendingCommit, WrongExpectedVersion

MAX_ATTEMPTS = 50  # against a busy writer elsewhere, who need not catch up and so wins more often
MAX_BACKOFF_SECONDS = 0.1  # seconds
MAX_CACHE_BYTES = 32 * 1024 * 1024  # of folded streams per process, as JSON; in memory they take a few times as much
STREAM_OVERHEAD_BYTES = 512  # of a folded stream beside what grows with its row
EARLIEST_TIME = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LoadedStream:
    """A stream, folded up to a version."""

    version: int
    state: Any
    row: ReadModelRow
    at: datetime = EARLIEST_TIME  # of the last decision

    def apply_events(
        self, category: Category[Any, Any, Any, Any], new_events: Sequence[RecordedEvent[Any]]
    ) -> "LoadedStream":
        version, state, row, at = self.version, self.state, self.row, self.at
        for recorded in new_events:
            version, at = recorded.version, recorded.at
            state = category.decider.evolve(state, recorded.event)
            row = category.apply(row, recorded)
        return LoadedStream(version, state, row, at)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came of a command: the stream's version, its row and the events that were recorded just now."""

    stream: str
    version: int
    row: ReadModelRow
    new_events: Sequence[RecordedEvent[Any]]


FollowUp = tuple[Category[Any, Any, Any, Any], Command, CommandMetadata]
FollowUps = Callable[[Sequence[RecordedEvent[Any]]], Sequence[FollowUp]]


def no_follow_ups(_news: Sequence[RecordedEvent[Any]]) -> Sequence[FollowUp]:
    return ()


class CommandHandler:
    def __init__(self, store: EventStore, on_conflict: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_conflict = on_conflict
        self._cache: LRUCache[str, LoadedStream] = LRUCache(MAX_CACHE_BYTES, getsizeof=_estimate_size)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def load(
        self, category: Category[Any, Any, Any, Any], stream: str, *, until: int | None = None
    ) -> LoadedStream:
        """The stream as it is now, or as it was at a version."""
        return _new_stream(category).apply_events(category, await self._store.read(stream, until=until))

    async def find_result(
        self, category: Category[Any, Any, Any, Any], metadata: CommandMetadata
    ) -> CommandResult | None:
        """The answer that a command got when it was recorded before."""
        if metadata.fingerprint:  # side by side, to save a round: mostly there is neither
            found = await asyncio.gather(
                self._store.find(metadata.command_id), self._store.find_noop(metadata.command_id)
            )
            commit = found[0] or found[1]
        else:
            commit = await self._store.find(metadata.command_id)
        return await self._replay_result(category, commit, metadata) if commit else None

    async def handle(
        self,
        category: Category[Any, Any, Any, Any],
        command: Command,
        metadata: CommandMetadata,
        follow_ups: FollowUps = no_follow_ups,
    ) -> CommandResult:
        """`bring`: which streams begin with what is decided; that is recorded together or not at all.

        Raises Refused, Conflict (after many tries), Unavailable or OutcomeUnknown.
        Refused with IDEMPOTENCY_KEY_REUSED: the command's id stands for another request.
        """
        stream = category.decider.stream(command)
        lock = self._locks.setdefault(stream, asyncio.Lock())
        async with lock:  # in this process the stream's commands queue here instead of conflicting in the database
            try:
                handled = await self._decide_and_append(category, stream, command, metadata, follow_ups)
                if handled.new_events:
                    return handled
                if before := await self._recheck_duplicate(category, metadata):
                    return before
                if metadata.fingerprint:
                    await self._store.record_noop(stream, handled.version, metadata)
                return handled
            except DuplicateCommand as repeated:
                return await self._replay_result(category, repeated.commit, metadata)
            except RequestRejected:
                if before := await self._recheck_duplicate(category, metadata):
                    return before
                raise

    async def _recheck_duplicate(
        self, category: Category[Any, Any, Any, Any], metadata: CommandMetadata
    ) -> CommandResult | None:
        """The same command may have been recorded between the first look and now: its own effect refuses it then."""
        return await self.find_result(category, metadata) if metadata.may_be_duplicate else None

    async def _decide_and_append(
        self,
        category: Category[Any, Any, Any, Any],
        stream: str,
        command: Command,
        metadata: CommandMetadata,
        follow_ups: FollowUps,
    ) -> CommandResult:
        folded = self._cache.get(stream)
        certain = folded is None  # a kept state may be behind: refuse or do nothing only on what the log says now
        if folded is None and isinstance(command, category.decider.initial_commands):
            folded, certain = _new_stream(category), False
        if folded is None:
            folded = await self.load(category, stream)
        for attempt in range(MAX_ATTEMPTS):
            try:
                events = category.decider.decide(folded.state, command)
            except RequestRejected:
                if certain:
                    raise
                events = []
            if not events:
                if certain:
                    self._cache_stream(stream, folded)
                    return CommandResult(stream, folded.version, folded.row, ())
                folded, certain = await self._catch_up(category, stream, folded), True
                continue
            decision, result = _build_commit(category, stream, folded, events, metadata)
            begun = [_start_stream(*one) for one in follow_ups(decision.recorded_events)]
            try:
                await self._store.append(decision, *(one for one, _ in begun))
            except WrongExpectedVersion:
                self._on_conflict()
                if attempt:
                    await asyncio.sleep(uniform(0, min(MAX_BACKOFF_SECONDS, 0.002 * 2**attempt)))  # noqa: S311
                folded, certain = await self._catch_up(category, stream, folded), True
                follow_ups = no_follow_ups  # whatever was in the way: what follows is told of its own now
                continue
            except BaseException:
                self._cache.pop(stream, None)
                raise
            self._cache_stream(stream, result)
            news = decision.recorded_events
            for other, beginning in begun:
                self._cache_stream(other.stream, beginning)
                news += other.recorded_events
            return CommandResult(stream, result.version, result.row, news)
        raise WrongExpectedVersion(stream)

    async def _catch_up(
        self, category: Category[Any, Any, Any, Any], stream: str, loaded: LoadedStream
    ) -> LoadedStream:
        return loaded.apply_events(category, await self._store.read(stream, after=loaded.version))

    async def _replay_result(
        self, category: Category[Any, Any, Any, Any], commit: CommitRef, metadata: CommandMetadata
    ) -> CommandResult:
        if metadata.fingerprint and commit.fingerprint != metadata.fingerprint:
            raise RequestRejected("IDEMPOTENCY_KEY_REUSED")
        folded = await self.load(category, commit.stream, until=commit.version)
        return CommandResult(commit.stream, commit.version, folded.row, ())

    def _cache_stream(self, stream: str, loaded: LoadedStream) -> None:
        try:
            self._cache[stream] = loaded
        except ValueError:  # larger than the whole cache
            self._cache.pop(stream, None)


def _estimate_size(loaded: LoadedStream) -> int:
    """The state holds about as much as the row."""
    return STREAM_OVERHEAD_BYTES + 2 * len(to_json(loaded.row))


def _new_stream(category: Category[Any, Any, Any, Any]) -> LoadedStream:
    return LoadedStream(0, category.decider.initial, category.initial_row)


def _start_stream(
    category: Category[Any, Any, Any, Any], command: Command, metadata: CommandMetadata
) -> tuple[PendingCommit, LoadedStream]:
    empty = _new_stream(category)
    return _build_commit(
        category, category.decider.stream(command), empty, category.decider.decide(empty.state, command), metadata
    )


def _build_commit(
    category: Category[Any, Any, Any, Any],
    stream: str,
    before: LoadedStream,
    events: Sequence[Any],
    metadata: CommandMetadata,
) -> tuple[PendingCommit, LoadedStream]:
    """The decision to be written and the stream as it will be."""
    claims: list[Reservation] = []
    state = before.state
    for event in events:
        claims += category.decider.reservations(state, event)
        state = category.decider.evolve(state, event)
    version = before.version + 1
    if metadata.at < before.at:
        metadata = metadata.replace(at=before.at)  # clocks differ; within a stream time never goes back
    row = before.row
    for index, event in enumerate(events):
        row = category.apply(row, RecordedEvent(stream, version, index, event, metadata))
    shown = None if category.is_deleted(row) else row
    return (
        PendingCommit(category, stream, before.version, events, metadata, shown, claims),
        LoadedStream(version, state, row, metadata.at),
    )
