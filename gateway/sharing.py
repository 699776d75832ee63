"""Equal questions share answers, written once for all: while one is under way, all that come in share the next one.

Nobody gets an answer that was begun before he asked, so a client still reads its own writes; under load a list that a
hundred clients poll costs the services as much as two.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any

Ask = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class Asking:
    now: asyncio.Task[bytes]
    following: asyncio.Task[bytes] | None = None


class Sharing:
    def __init__(self) -> None:
        self._asking: dict[Hashable, Asking] = {}

    async def share(self, key: Hashable, ask: Ask) -> bytes:
        """What `ask` brings, or what it brings to another one with the same key: all that it depends on."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = Asking(_started(self._ask(key, ask)))
            return await asyncio.shield(asking.now)
        if asking.following is None:
            asking.following = _started(self._ask_after(asking.now, key, ask))
        return await asyncio.shield(asking.following)

    async def _ask_after(self, before: asyncio.Task[bytes], key: Hashable, ask: Ask) -> bytes:
        await asyncio.wait({before})
        return await self._ask(key, ask)

    async def _ask(self, key: Hashable, ask: Ask) -> bytes:
        try:
            return await ask()
        finally:
            asking = self._asking.pop(key)
            if asking.following is not None:
                self._asking[key] = Asking(asking.following)


def _started(answering: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
    """A task whose failure is no news when all who waited for it have gone."""
    task = asyncio.create_task(answering)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
