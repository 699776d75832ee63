"""Request coalescing: while a query is in flight, equal ones that arrive share a single following one.

No request gets a response that was started before it arrived, so clients read their own writes. A list that a hundred
clients poll costs the services as much as two clients do.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class InFlight:
    """The running request for a key, and the one that follows it."""

    current: asyncio.Task[bytes]
    next_request: asyncio.Task[bytes] | None = None


class RequestCoalescer:
    """Shares requests with an equal key."""

    def __init__(self) -> None:
        self._in_flight: dict[Hashable, InFlight] = {}

    async def run(self, key: Hashable, fetch: Fetch) -> bytes:
        """Return the result of `fetch`, shared among concurrent calls with an equal key.

        `key` must contain everything that the result depends on.
        """
        in_flight = self._in_flight.get(key)
        if in_flight is None:
            in_flight = self._in_flight[key] = InFlight(_start_task(self._fetch(key, fetch)))
            return await asyncio.shield(in_flight.current)
        if in_flight.next_request is None:
            in_flight.next_request = _start_task(self._fetch_after(in_flight.current, key, fetch))
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


def _start_task(coroutine: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
    """Start a task whose exception is retrieved, so that asyncio logs nothing if no waiter is left."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
