"""Cache of access rights. A value is used for a second, or for a minute while the service is unavailable."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from cachetools import LRUCache, TTLCache

from contracts.errors import RequestRejected
from libs.tasks import SharedTasks

TTL_SECONDS = 1.0  # seconds after which a value is requested again, so that a change of a user's rights takes effect
STALE_IF_ERROR_SECONDS = 60.0  # seconds for which the last value is used while the service is unavailable
MAX_ENTRIES = 10_000  # limit of cached values, and of cached denials
UNAVAILABLE_CODES = frozenset({"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"})

K = TypeVar("K")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class CachedValue(Generic[A]):
    value: A
    requested_at: float  # start of the latest request, or its end if the service was unavailable
    confirmed_at: float  # start of the latest successful request


class StaleIfErrorCache(Generic[K, A]):
    """A cache that requests a value again after TTL_SECONDS.

    While the service is unavailable, a value is used for STALE_IF_ERROR_SECONDS after its last confirmation. Values and
    denials are stored separately, so that a flood of invalid tokens does not evict valid users.
    """

    def __init__(self, fetch: Callable[[K], Awaitable[A]], clock: Callable[[], float]) -> None:
        """Create the cache. `fetch` requests the value of a key; rejections with TOKEN_INVALID are cached."""
        self._fetch = fetch
        self._clock = clock
        self._values: LRUCache[K, CachedValue[A]] = LRUCache(MAX_ENTRIES)
        self._denials: TTLCache[K, RequestRejected] = TTLCache(MAX_ENTRIES, TTL_SECONDS, clock)
        self._requests = SharedTasks[K, A]()

    def __contains__(self, key: K) -> bool:
        """Return whether a value of `key` is cached, which may be older than TTL_SECONDS."""
        return key in self._values

    async def get(self, key: K) -> A:
        """Return the value of `key`, from the cache or from the service. Raises RequestRejected."""
        cached = self._values.get(key)
        if cached and self._clock() - cached.requested_at < TTL_SECONDS:
            return cached.value
        if denied := self._denials.get(key):
            raise RequestRejected(denied.code, denied.detail)
        return await self._requests.wait(key, partial(self._refresh, key))

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
                self._denials[key] = rejection
            raise
        self._values[key] = CachedValue(value, requested_at, requested_at)
        return value
