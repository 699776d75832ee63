"""Metric declarations of a service: counters and histograms of its events, and gauges that the leader polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from nats.errors import Error as NatsError
from opentelemetry.metrics import Meter
from pymongo.errors import PyMongoError

from contracts.messages import Event, ReadModelRow
from libs.eventstore.decider import AnyEvent, RecordedEvent
from libs.observability.metrics import LONG_SECONDS_BUCKETS, SettableGauge, create_seconds_histogram

if TYPE_CHECKING:
    from libs.service.declaration import Context

log = logging.getLogger("headrace.metrics")

POLL_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True)
class CounterSpec:
    """A counter of recorded events by outcome. The recording replica counts them; a crash may lose a count."""

    name: str
    description: str
    outcome: Callable[[RecordedEvent[Event]], str | None]  # None: the event is not counted
    outcomes: tuple[str, ...]  # all possible values; exported as 0 from the start


@dataclass(frozen=True)
class HistogramSpec:
    """A histogram of durations in seconds, computed from an event and its stream's row."""

    name: str
    description: str
    seconds: Callable[[RecordedEvent[Event], ReadModelRow], float | None]  # None: the event has no duration


@dataclass(frozen=True)
class GaugeSpec:
    """A gauge that the leader reads from the database every few seconds. Its query must be fast for a long log."""

    name: str
    description: str
    read: Callable[[Context], Awaitable[float]]


MetricSpec = CounterSpec | HistogramSpec | GaugeSpec


class EventMetrics:
    """Counters and histograms of the events that this process records."""

    def __init__(self, meter: Meter, specs: Sequence[MetricSpec]) -> None:
        self._counters = [
            (spec, meter.create_counter(spec.name, description=spec.description))
            for spec in specs
            if isinstance(spec, CounterSpec)
        ]
        self._histograms = [
            (spec, create_seconds_histogram(meter, spec.name, spec.description, LONG_SECONDS_BUCKETS))
            for spec in specs
            if isinstance(spec, HistogramSpec)
        ]
        for spec, counter in self._counters:
            for outcome in spec.outcomes:
                counter.add(0, {"outcome": outcome})

    def record(self, recorded: AnyEvent, row: ReadModelRow) -> None:
        """Update the metrics for an event. `row` is the row of its stream after the event."""
        for counter_spec, counter in self._counters:
            if outcome := counter_spec.outcome(recorded):
                counter.add(1, {"outcome": outcome})
        for histogram_spec, histogram in self._histograms:
            if (seconds := histogram_spec.seconds(recorded, row)) is not None:
                histogram.record(max(seconds, 0.0))


class GaugePoller:
    """Polls gauges on the leader and clears them when leadership is lost, so that a former leader reports nothing."""

    def __init__(self, meter: Meter, specs: Sequence[MetricSpec]) -> None:
        self._gauges = [
            (spec, SettableGauge.create(meter, spec.name, spec.description))
            for spec in specs
            if isinstance(spec, GaugeSpec)
        ]

    async def run(self, context: Callable[[], Context]) -> NoReturn:
        """Poll until canceled. A gauge that cannot be read is cleared."""
        try:
            while True:
                for spec, gauge in self._gauges:
                    try:
                        gauge.set(await spec.read(context()), {})
                    except (PyMongoError, NatsError) as error:
                        log.warning("reading the gauge %s failed: %s", spec.name, type(error).__name__)
                        gauge.clear()
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        finally:
            for _, gauge in self._gauges:
                gauge.clear()
