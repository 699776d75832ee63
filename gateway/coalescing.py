"""Equal questions share answers, written once for all: while one is under way, all that come in share the next one.

Nobody gets an answer that was begun before he asked, so a client still reads its own writes; under load a list that a
hundred clients poll costs the services as much as two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

Fetch = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class InFlight:
    current: asyncio.Task[bytes]
    next_request: asyncio.Task[bytes] | None = None


class RequestCoalescer:
    def __init__(self) -> None:
        self._in_flight: dict[Hashable, InFlight] = {}

    async def run(self, key: Hashable, fetch: Fetch) -> bytes:
        """What `ask` brings, or what it brings to another one with the same key: all that it depends on."""
        asking = self._in_flight.get(key)
        if asking is None:
            asking = self._in_flight[key] = InFlight(_start_task(self._fetch(key, fetch)))
            return await asyncio.shield(asking.current)
        if asking.next_request is None:
            asking.next_request = _start_task(self._fetch_after(asking.current, key, fetch))
        return await asyncio.shield(asking.next_request)

    async def _fetch_after(self, before: asyncio.Task[bytes], key: Hashable, fetch: Fetch) -> bytes:
        await asyncio.wait({before})
        return await self._fetch(key, fetch)

    async def _fetch(self, key: Hashable, fetch: Fetch) -> bytes:
        try:
            return await fetch()
        finally:
            asking = self._in_flight.pop(key)
            if asking.next_request is not None:
                self._in_flight[key] = InFlight(asking.next_request)


def _start_task(coroutine: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
    """A task whose failure is no news when all who waited for it have gone."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
