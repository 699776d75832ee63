"""Background probes of a process's dependencies; readiness uses their latest results."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

from libs.observability.logs import redact
from libs.tasks import cancel_and_wait

PROBE_INTERVAL_SECONDS = 2.0
PROBE_RETRY_SECONDS = 0.5
PROBE_TIMEOUT_SECONDS = 2.0
MAX_RESULT_AGE_SECONDS = 5.0  # long enough that a single slow probe does not make the process unready


class Probe:
    """Repeats a round trip to a dependency. `attempt` makes one, and raises an exception if it fails."""

    def __init__(self, name: str, attempt: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._attempt = attempt
        self._answered_at: float | None = None  # event loop clock
        self._failure: str | None = f"{name} has not responded yet"

    async def find_problem(self) -> str | None:
        """Return a description of the problem, or None. Registered as a check of Health."""
        if self._failure or self._answered_at is None:
            return self._failure
        age = _now() - self._answered_at
        return f"{self._name} has not responded for {age:.0f} s" if age > MAX_RESULT_AGE_SECONDS else None

    async def run_once(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await self._attempt()
        except TimeoutError:
            pass  # `find_problem` reports a problem if the last success is too old
        except Exception as error:  # any error is a problem to report
            self._failure = redact(f"{self._name} is not reachable ({type(error).__name__})")
        else:
            self._failure, self._answered_at = None, _now()

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(PROBE_RETRY_SECONDS if await self.find_problem() else PROBE_INTERVAL_SECONDS)
            await self.run_once()


@asynccontextmanager
async def run_probes(*probes: Probe) -> AsyncIterator[None]:
    """Run each probe once, then repeatedly until the block ends."""
    await asyncio.gather(*(probe.run_once() for probe in probes))
    tasks = {asyncio.create_task(probe.run()) for probe in probes}
    try:
        yield
    finally:
        await cancel_and_wait(tasks)


def _now() -> float:
    return asyncio.get_running_loop().time()
