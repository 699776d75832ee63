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

from contracts.errors import Refused
from contracts.messages import Command, Row
from libs.deciding import Category, Cause, Claim, Recorded
from libs.eventstore.store import Commit, Conflict, Decision, EventStore, Repeated

ATTEMPTS = 50  # against a busy writer elsewhere, who need not catch up and so wins more often
MAX_BACKOFF = 0.1  # seconds
MAX_CACHE_BYTES = 32 * 1024 * 1024  # of folded streams per process, as JSON; in memory they take a few times as much
STATE_BYTES = 512  # of a folded stream beside what grows with its row
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Folded:
    """A stream, folded up to a version."""

    version: int
    state: Any
    row: Row
    at: datetime = BEGINNING  # of the last decision

    def after(self, category: Category[Any, Any, Any, Any], news: Sequence[Recorded[Any]]) -> "Folded":
        version, state, row, at = self.version, self.state, self.row, self.at
        for recorded in news:
            version, at = recorded.version, recorded.at
            state = category.decider.evolve(state, recorded.event)
            row = category.fold(row, recorded)
        return Folded(version, state, row, at)


@dataclass(frozen=True, slots=True)
class Handled:
    """What came of a command: the stream's version, its row and the events that were recorded just now."""

    stream: str
    version: int
    row: Row
    news: Sequence[Recorded[Any]]


Beginning = tuple[Category[Any, Any, Any, Any], Command, Cause]
Bring = Callable[[Sequence[Recorded[Any]]], Sequence[Beginning]]


def brings_nothing(_news: Sequence[Recorded[Any]]) -> Sequence[Beginning]:
    return ()


class Streams:
    def __init__(self, store: EventStore, on_conflict: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._on_conflict = on_conflict
        self._kept: LRUCache[str, Folded] = LRUCache(MAX_CACHE_BYTES, getsizeof=_size_of)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def fold(self, category: Category[Any, Any, Any, Any], stream: str, *, until: int | None = None) -> Folded:
        """The stream as it is now, or as it was at a version."""
        return _empty(category).after(category, await self._store.read(stream, until=until))

    async def seen(self, category: Category[Any, Any, Any, Any], cause: Cause) -> Handled | None:
        """The answer that a command got when it was recorded before."""
        if cause.fingerprint:  # side by side, to save a round: mostly there is neither
            found = await asyncio.gather(self._store.find(cause.command_id), self._store.noted(cause.command_id))
            commit = found[0] or found[1]
        else:
            commit = await self._store.find(cause.command_id)
        return await self._as_before(category, commit, cause) if commit else None

    async def handle(
        self, category: Category[Any, Any, Any, Any], command: Command, cause: Cause, bring: Bring = brings_nothing
    ) -> Handled:
        """`bring`: which streams begin with what is decided; that is recorded together or not at all.

        Raises Refused, Conflict (after many tries), Unavailable or OutcomeUnknown.
        Refused with IDEMPOTENCY_KEY_REUSED: the command's id stands for another request.
        """
        stream = category.decider.stream(command)
        lock = self._locks.setdefault(stream, asyncio.Lock())
        async with lock:  # in this process the stream's commands queue here instead of conflicting in the database
            try:
                handled = await self._decide_and_append(category, stream, command, cause, bring)
                if handled.news:
                    return handled
                if before := await self._seen_meanwhile(category, cause):
                    return before
                if cause.fingerprint:
                    await self._store.note(stream, handled.version, cause)
                return handled
            except Repeated as repeated:
                return await self._as_before(category, repeated.commit, cause)
            except Refused:
                if before := await self._seen_meanwhile(category, cause):
                    return before
                raise

    async def _seen_meanwhile(self, category: Category[Any, Any, Any, Any], cause: Cause) -> Handled | None:
        """The same command may have been recorded between the first look and now: its own effect refuses it then."""
        return await self.seen(category, cause) if cause.repeatable else None

    async def _decide_and_append(
        self, category: Category[Any, Any, Any, Any], stream: str, command: Command, cause: Cause, bring: Bring
    ) -> Handled:
        folded = self._kept.get(stream)
        certain = folded is None  # a kept state may be behind: refuse or do nothing only on what the log says now
        if folded is None and isinstance(command, category.decider.creates):
            folded, certain = _empty(category), False
        if folded is None:
            folded = await self.fold(category, stream)
        for attempt in range(ATTEMPTS):
            try:
                events = category.decider.decide(folded.state, command)
            except Refused:
                if certain:
                    raise
                events = []
            if not events:
                if certain:
                    self._keep(stream, folded)
                    return Handled(stream, folded.version, folded.row, ())
                folded, certain = await self._catch_up(category, stream, folded), True
                continue
            decision, result = _decided(category, stream, folded, events, cause)
            begun = [_begun(*one) for one in bring(decision.recorded)]
            try:
                await self._store.append(decision, *(one for one, _ in begun))
            except Conflict:
                self._on_conflict()
                if attempt:
                    await asyncio.sleep(uniform(0, min(MAX_BACKOFF, 0.002 * 2**attempt)))  # noqa: S311
                folded, certain = await self._catch_up(category, stream, folded), True
                bring = brings_nothing  # whatever was in the way: what follows is told of its own now
                continue
            except BaseException:
                self._kept.pop(stream, None)
                raise
            self._keep(stream, result)
            news = decision.recorded
            for other, beginning in begun:
                self._keep(other.stream, beginning)
                news += other.recorded
            return Handled(stream, result.version, result.row, news)
        raise Conflict(stream)

    async def _catch_up(self, category: Category[Any, Any, Any, Any], stream: str, folded: Folded) -> Folded:
        return folded.after(category, await self._store.read(stream, after=folded.version))

    async def _as_before(self, category: Category[Any, Any, Any, Any], commit: Commit, cause: Cause) -> Handled:
        if cause.fingerprint and commit.fingerprint != cause.fingerprint:
            raise Refused("IDEMPOTENCY_KEY_REUSED")
        folded = await self.fold(category, commit.stream, until=commit.version)
        return Handled(commit.stream, commit.version, folded.row, ())

    def _keep(self, stream: str, folded: Folded) -> None:
        try:
            self._kept[stream] = folded
        except ValueError:  # larger than the whole cache
            self._kept.pop(stream, None)


def _size_of(folded: Folded) -> int:
    """The state holds about as much as the row."""
    return STATE_BYTES + 2 * len(to_json(folded.row))


def _empty(category: Category[Any, Any, Any, Any]) -> Folded:
    return Folded(0, category.decider.initial, category.row)


def _begun(category: Category[Any, Any, Any, Any], command: Command, cause: Cause) -> tuple[Decision, Folded]:
    empty = _empty(category)
    return _decided(
        category, category.decider.stream(command), empty, category.decider.decide(empty.state, command), cause
    )


def _decided(
    category: Category[Any, Any, Any, Any], stream: str, before: Folded, events: Sequence[Any], cause: Cause
) -> tuple[Decision, Folded]:
    """The decision to be written and the stream as it will be."""
    claims: list[Claim] = []
    state = before.state
    for event in events:
        claims += category.decider.claims(state, event)
        state = category.decider.evolve(state, event)
    version = before.version + 1
    if cause.at < before.at:
        cause = cause.but(at=before.at)  # clocks differ; within a stream time never goes back
    row = before.row
    for index, event in enumerate(events):
        row = category.fold(row, Recorded(stream, version, index, event, cause))
    shown = None if category.gone(row) else row
    return (
        Decision(category, stream, before.version, events, cause, shown, claims),
        Folded(version, state, row, cause.at),
    )
