"""Dependencies of a process, tried in the background: readiness says whether they answered lately, at no cost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from libs.ending import end
from libs.observability.logs import redacted

INTERVAL_SECONDS = 2.0
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0
MAX_AGE_SECONDS = 5.0  # of an answer: one that is late now and then makes nobody unready


class Probe:
    """`attempt` is a round trip through the dependency; it raises an exception where that fails."""

    def __init__(self, name: str, attempt: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._attempt = attempt
        self._answered_at: float | None = None  # by the loop's clock
        self._failure: str | None = f"{name} has not answered yet"

    async def reason(self) -> str | None:
        """Return why this process is not ready, or None. A check of Health."""
        if self._failure or self._answered_at is None:
            return self._failure
        age = _now() - self._answered_at
        return f"{self._name} has not answered for {age:.0f} s" if age > MAX_AGE_SECONDS else None

    async def once(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self._attempt()
        except TimeoutError:
            pass  # the age of the last answer counts
        except Exception as error:  # whatever it is, it is the reason
            self._failure = redacted(f"{self._name} is not reachable ({type(error).__name__})")
        else:
            self._failure, self._answered_at = None, _now()

    async def repeat(self) -> NoReturn:
        while True:
            await asyncio.sleep(RETRY_SECONDS if await self.reason() else INTERVAL_SECONDS)
            await self.once()


@asynccontextmanager
async def probing(*probes: Probe) -> AsyncIterator[None]:
    """Try all once, and then again and again until the block ends."""
    await asyncio.gather(*(probe.once() for probe in probes))
    tasks = {asyncio.create_task(probe.repeat()) for probe in probes}
    try:
        yield
    finally:
        await end(tasks)


def _now() -> float:
    return asyncio.get_running_loop().time()
