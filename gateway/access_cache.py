"""What identity said about somebody, kept for a moment, so that a request costs no question in the usual case."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts.errors import RequestRejected

TTL_SECONDS = 1.0  # seconds: so long a change of a user may go unnoticed
STALE_IF_ERROR_SECONDS = (
    60.0  # seconds: so long the last answer counts while identity is away, where nobody can be disabled either
)
MAX_ENTRIES = 10_000  # remembered answers
UNAVAILABLE_CODES = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})

K = TypeVar("K")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class CachedValue(Generic[A]):
    value: A
    requested_at: float  # when identity was last asked
    confirmed_at: float  # when it was asked and answered


@dataclass(frozen=True, slots=True)
class CachedDenial:
    code: str
    detail: str
    requested_at: float


class StaleIfErrorCache(Generic[K, A]):
    """At most one question a second about each key. Answers and refusals have a place of their own each, so that a
    flood of strangers pushes nobody out.
    """

    def __init__(self, fetch: Callable[[K], Awaitable[A]], clock: Callable[[], float]) -> None:
        """`ask` refuses with TOKEN_INVALID whom identity does not know."""
        self._fetch = fetch
        self._clock = clock
        self._values: dict[K, CachedValue[A]] = {}
        self._denials: dict[K, CachedDenial] = {}
        self._requests: dict[K, asyncio.Task[A]] = {}

    async def get(self, key: K) -> A:
        known = self._values.get(key)
        if known and self._clock() - known.requested_at < TTL_SECONDS:
            return known.value
        denied = self._denials.get(key)
        if denied and self._clock() - denied.requested_at < TTL_SECONDS:
            raise RequestRejected(denied.code, denied.detail)
        asking = self._requests.get(key)
        if asking is None:
            asking = self._requests[key] = asyncio.create_task(self._refresh(key))
            asking.add_done_callback(lambda done: self._on_done(key, done))
        # shielded: the question is everybody's, also when the client that started it goes away
        return await asyncio.shield(asking)

    def _on_done(self, key: K, done: asyncio.Task[A]) -> None:
        del self._requests[key]
        if not done.cancelled():
            done.exception()  # no news when all who waited for it have gone

    async def _refresh(self, key: K) -> A:
        asked_at = self._clock()
        try:
            answer = await self._fetch(key)
        except RequestRejected as refused:
            known = self._values.pop(key, None)
            if refused.code in UNAVAILABLE_CODES and known and asked_at - known.confirmed_at < STALE_IF_ERROR_SECONDS:
                self._values[key] = CachedValue(known.value, self._clock(), known.confirmed_at)
                return known.value
            if refused.code == "TOKEN_INVALID":
                _store(self._denials, key, CachedDenial(refused.code, refused.detail, asked_at))
            raise
        _store(self._values, key, CachedValue(answer, asked_at, asked_at))
        return answer


V = TypeVar("V")


def _store(kept: dict[K, V], key: K, value: V) -> None:
    if len(kept) >= MAX_ENTRIES:
        kept.clear()
    kept[key] = value
