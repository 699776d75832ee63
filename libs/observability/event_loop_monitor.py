"""What a process feels of itself: how late its event loop is, and whether it is ready."""

import asyncio
from itertools import count
from typing import NoReturn

from opentelemetry.metrics import Meter

from libs.observability.health import Health
from libs.observability.metrics import SettableGauge

SAMPLE_INTERVAL_SECONDS = 1.0  # seconds
SAMPLES_PER_REPORT = 10  # beats, while all is well


async def monitor_event_loop(meter: Meter, health: Health, service: str) -> NoReturn:
    """Runs until cancelled."""
    late = SettableGauge.create(
        meter, "headrace_event_loop_lag_seconds", "How late the event loop was, at worst of the last beats"
    )
    ready = SettableGauge.create(meter, "headrace_ready", "1 while the process is ready, 0 while it is not")
    labels = {"service": service}
    clock = asyncio.get_running_loop().time
    worst, well = 0.0, False
    for beat in count():
        if beat % SAMPLES_PER_REPORT == 0:
            late.set(worst, labels)
            worst = 0.0
        if beat % SAMPLES_PER_REPORT == 0 or not well:
            well = not await health.find_problems()
            ready.set(int(well), labels)
        due = clock() + SAMPLE_INTERVAL_SECONDS
        await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)
        worst = max(worst, clock() - due)
    raise AssertionError("unreachable")
