"""Measurement of request rates and latency percentiles with callers that wait for each response."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LoopResult:
    rate: float  # calls per second
    p50: float  # median latency in milliseconds
    p99: float

    @property
    def text(self) -> str:
        return f"{self.rate:,.0f}/s, {self.p50:.1f}/{self.p99:.1f} ms"


def percentile(seconds: list[float], share: float) -> float:
    """Return the percentile, in milliseconds, of durations in seconds. `share`: 0 to 1, such as 0.99."""
    return sorted(seconds)[min(int(len(seconds) * share), len(seconds) - 1)] * 1000


async def closed_loop(callers: list[Callable[[], Awaitable[None]]], seconds: float, warm_up: float = 0.5) -> LoopResult:
    """Let every caller repeat its call without a pause. Measure the calls of `seconds` seconds, after the warm-up."""
    taken: list[float] = []
    begin = time.perf_counter() + warm_up
    end = begin + seconds

    async def loop(call: Callable[[], Awaitable[None]]) -> None:
        while (started := time.perf_counter()) < end:
            await call()
            finished = time.perf_counter()
            if begin <= started and finished <= end:
                taken.append(finished - started)

    await asyncio.gather(*(loop(call) for call in callers))
    return LoopResult(len(taken) / seconds, percentile(taken, 0.5), percentile(taken, 0.99))
