"""A monitor that exports the lag of the event loop and the readiness of the process."""

import asyncio
from itertools import count
from typing import NoReturn

from opentelemetry.metrics import Meter

from libs.observability.health import Health
from libs.observability.metrics import SettableGauge

SAMPLE_INTERVAL_SECONDS = 1.0
# The lag is reported after this number of samples. A ready process then checks its readiness, too; an unready process
# checks it at each sample.
SAMPLES_PER_REPORT = 10


class EventLoopMonitor:
    def __init__(self, meter: Meter, health: Health, service: str) -> None:
        self._health = health
        self._labels = {"service": service}
        self._late = SettableGauge.create(
            meter, "headrace_event_loop_lag_seconds", "Maximum delay of the event loop in the last 10 seconds"
        )
        self._ready = SettableGauge.create(meter, "headrace_ready", "1 while the process is ready, 0 while it is not")
        self._reported, self._worst = 0.0, 0.0

    @property
    def lag_seconds(self) -> float:
        """The maximum delay of the event loop in the last 10 to 20 seconds."""
        return max(self._reported, self._worst)

    async def run(self) -> NoReturn:
        clock = asyncio.get_running_loop().time
        well = False
        for beat in count():
            if beat % SAMPLES_PER_REPORT == 0:
                self._reported, self._worst = self._worst, 0.0
                self._late.set(self._reported, self._labels)
            if beat % SAMPLES_PER_REPORT == 0 or not well:
                well = not await self._health.find_problems()
                self._ready.set(int(well), self._labels)
            due = clock() + SAMPLE_INTERVAL_SECONDS
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)
            self._worst = max(self._worst, clock() - due)
        raise AssertionError("unreachable")
