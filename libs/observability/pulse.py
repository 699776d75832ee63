"""What a process feels of itself: how late its event loop is, and whether it is ready."""

import asyncio
from itertools import count
from typing import NoReturn

from opentelemetry.metrics import Meter

from libs.observability.health import Health
from libs.observability.metrics import Level

EVERY = 1.0  # seconds
LOOK_EVERY = 10  # beats, while all is well


async def pulse(meter: Meter, health: Health, service: str) -> NoReturn:
    """Runs until cancelled."""
    late = Level.of(meter, "headrace_event_loop_lag_seconds", "How late the event loop was, at worst of the last beats")
    ready = Level.of(meter, "headrace_ready", "1 while the process is ready, 0 while it is not")
    labels = {"service": service}
    clock = asyncio.get_running_loop().time
    worst, well = 0.0, False
    for beat in count():
        if beat % LOOK_EVERY == 0:
            late.set(worst, labels)
            worst = 0.0
        if beat % LOOK_EVERY == 0 or not well:
            well = not await health.reasons()
            ready.set(int(well), labels)
        due = clock() + EVERY
        await asyncio.sleep(EVERY)
        worst = max(worst, clock() - due)
    raise AssertionError("unreachable")
