"""A monitor that exports the lag of the event loop and the readiness of the process."""

import asyncio
from itertools import count
from typing import NoReturn

from opentelemetry.metrics import Meter

from libs.observability.health import Health
from libs.observability.metrics import SettableGauge

SAMPLE_INTERVAL_SECONDS = 1.0
SAMPLES_PER_REPORT = 10  # per report of the lag and, while the process is ready, per readiness check


async def monitor_event_loop(meter: Meter, health: Health, service: str) -> NoReturn:
    late = SettableGauge.create(
        meter, "headrace_event_loop_lag_seconds", "Maximum delay of the event loop in the last 10 seconds"
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
