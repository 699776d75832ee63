"""Gauges that the leader of a service reads from the database. Counters and histograms are plain instruments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from nats.errors import Error as NatsError
from opentelemetry.metrics import Meter
from pymongo.errors import PyMongoError

from libs.observability.metrics import SettableGauge

if TYPE_CHECKING:
    from libs.service.declaration import Context

log = logging.getLogger("headrace.metrics")

POLL_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True)
class PolledGauge:
    """A gauge that the leader reads from the database every few seconds. Its query must be fast for a long log."""

    name: str
    description: str
    read: Callable[[Context], Awaitable[float]]


class GaugePoller:
    """Polls gauges on the leader and clears them when leadership is lost, so that a former leader reports nothing."""

    def __init__(self, meter: Meter, polled: Sequence[PolledGauge]) -> None:
        self._gauges = [(each, SettableGauge.create(meter, each.name, each.description)) for each in polled]

    def read(self) -> Mapping[str, float]:
        """Return the latest values by metric. Empty unless this process is the leader."""
        return {polled.name: value for polled, gauge in self._gauges for _, value in gauge.read()}

    async def run(self, context: Callable[[], Context]) -> NoReturn:
        """Poll until canceled. A gauge that cannot be read is cleared."""
        try:
            while True:
                for polled, gauge in self._gauges:
                    try:
                        gauge.set(await polled.read(context()), {})
                    except (PyMongoError, NatsError) as error:
                        log.warning("reading the gauge %s failed: %s", polled.name, type(error).__name__)
                        gauge.clear()
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        finally:
            for _, gauge in self._gauges:
                gauge.clear()
