"""Request coalescing: equal queries that arrive while one is in flight share a single next query.

No request gets the result of a query that was sent before the request arrived, so clients read their own writes. A list
polled by a hundred clients costs the services as much as one polled by two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from libs.tasks import start_shared

Fetch = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class InFlight:
    """The running query for a key, and the next one, which starts when the running one ends."""

    current: asyncio.Task[bytes]
    next_request: asyncio.Task[bytes] | None = None


class RequestCoalescer:
    """Lets concurrent calls with an equal key share one request."""

    def __init__(self) -> None:
        self._in_flight: dict[Hashable, InFlight] = {}

    async def run(self, key: Hashable, fetch: Fetch) -> bytes:
        """Return the result of `fetch`, shared among concurrent calls with an equal key.

        `key` must contain everything that the result depends on.
        """
        in_flight = self._in_flight.get(key)
        if in_flight is None:
            in_flight = self._in_flight[key] = InFlight(start_shared(self._fetch(key, fetch)))
            return await asyncio.shield(in_flight.current)
        if in_flight.next_request is None:
            in_flight.next_request = start_shared(self._fetch_after(in_flight.current, key, fetch))
        return await asyncio.shield(in_flight.next_request)

    async def _fetch_after(self, previous: asyncio.Task[bytes], key: Hashable, fetch: Fetch) -> bytes:
        await asyncio.wait({previous})
        return await self._fetch(key, fetch)

    async def _fetch(self, key: Hashable, fetch: Fetch) -> bytes:
        try:
            return await fetch()
        finally:
            in_flight = self._in_flight.pop(key)
            if in_flight.next_request is not None:
                self._in_flight[key] = InFlight(in_flight.next_request)
