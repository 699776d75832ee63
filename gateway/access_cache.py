"""Cache of access rights. Values expire after a second, or later while the identity service is unavailable."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts.errors import RequestRejected

TTL_SECONDS = 1.0  # seconds after which a value is requested again, so that a change of a user's rights takes effect
STALE_IF_ERROR_SECONDS = 60.0  # seconds for which the last value is used while the identity service is unavailable
MAX_ENTRIES = 10_000  # for values, and separately for denials; a full cache is cleared
UNAVAILABLE_CODES = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})

K = TypeVar("K")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class CachedValue(Generic[A]):
    value: A
    requested_at: float  # time of the latest request, successful or not
    confirmed_at: float  # time of the latest successful request


@dataclass(frozen=True, slots=True)
class CachedDenial:
    code: str
    detail: str
    requested_at: float


class StaleIfErrorCache(Generic[K, A]):
    """A cache that requests a value again after TTL_SECONDS and serves old values while the service is unavailable.

    Values and denials are stored separately, so that a flood of invalid tokens does not evict valid users.
    """

    def __init__(self, fetch: Callable[[K], Awaitable[A]], clock: Callable[[], float]) -> None:
        """Create the cache. `fetch` requests the value of a key; rejections with TOKEN_INVALID are cached, too."""
        self._fetch = fetch
        self._clock = clock
        self._values: dict[K, CachedValue[A]] = {}
        self._denials: dict[K, CachedDenial] = {}
        self._requests: dict[K, asyncio.Task[A]] = {}

    async def get(self, key: K) -> A:
        """Return the value of `key`, from the cache if it is younger than TTL_SECONDS. Raises RequestRejected."""
        cached = self._values.get(key)
        if cached and self._clock() - cached.requested_at < TTL_SECONDS:
            return cached.value
        denied = self._denials.get(key)
        if denied and self._clock() - denied.requested_at < TTL_SECONDS:
            raise RequestRejected(denied.code, denied.detail)
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = asyncio.create_task(self._refresh(key))
            request.add_done_callback(lambda done: self._on_done(key, done))
        # shielded, because other callers may wait for the same request when this caller is canceled
        return await asyncio.shield(request)

    def _on_done(self, key: K, done: asyncio.Task[A]) -> None:
        del self._requests[key]
        if not done.cancelled():
            done.exception()  # retrieved, so that asyncio logs nothing if no waiter is left

    async def _refresh(self, key: K) -> A:
        requested_at = self._clock()
        try:
            value = await self._fetch(key)
        except RequestRejected as rejection:
            cached = self._values.pop(key, None)
            if (
                rejection.code in UNAVAILABLE_CODES
                and cached
                and requested_at - cached.confirmed_at < STALE_IF_ERROR_SECONDS
            ):
                self._values[key] = CachedValue(cached.value, self._clock(), cached.confirmed_at)
                return cached.value
            if rejection.code == "TOKEN_INVALID":
                _store(self._denials, key, CachedDenial(rejection.code, rejection.detail, requested_at))
            raise
        _store(self._values, key, CachedValue(value, requested_at, requested_at))
        return value


V = TypeVar("V")


def _store(entries: dict[K, V], key: K, value: V) -> None:
    if len(entries) >= MAX_ENTRIES:
        entries.clear()
    entries[key] = value
