"""What a service measures of itself: its own events as they are recorded, and what its leader reads now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nats.errors import Error as NatsError
from opentelemetry.metrics import Meter
from pymongo.errors import PyMongoError

from contracts.messages import ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.observability.metrics import LONG_SECONDS_BUCKETS, SettableGauge, create_seconds_histogram

log = logging.getLogger("headrace.measuring")

POLL_INTERVAL_SECONDS = 5.0  # seconds


@dataclass(frozen=True)
class CounterSpec:
    """Events by their outcome, one of few. Each counts once, where it is recorded: a crash may lose one."""

    name: str
    description: str
    outcome: Callable[[RecordedEvent[Any]], str | None]  # None: it does not count
    outcomes: tuple[str, ...]  # all there are: they are shown from the start, so that the first one is seen to come


@dataclass(frozen=True)
class HistogramSpec:
    """Seconds that something took, known with an event and the row of its stream."""

    name: str
    description: str
    seconds: Callable[[RecordedEvent[Any], Any], float | None]  # None: the event does not tell


@dataclass(frozen=True)
class GaugeSpec:
    """A number that the leading replica reads from the database every few seconds. Must stay cheap with a long log."""

    name: str
    description: str
    read: Callable[[Any], Awaitable[float]]  # takes a Context


MetricSpec = CounterSpec | HistogramSpec | GaugeSpec


class EventMetrics:
    """Counts and durations of one process."""

    def __init__(self, meter: Meter, specs: Sequence[MetricSpec]) -> None:
        self._counts = [
            (one, meter.create_counter(one.name, description=one.description))
            for one in specs
            if isinstance(one, CounterSpec)
        ]
        self._durations = [
            (one, create_seconds_histogram(meter, one.name, one.description, LONG_SECONDS_BUCKETS))
            for one in specs
            if isinstance(one, HistogramSpec)
        ]
        for count, counter in self._counts:
            for outcome in count.outcomes:
                counter.add(0, {"outcome": outcome})

    def record(self, recorded: RecordedEvent[Any], row: ReadModelRow) -> None:
        """`row`: of the event's stream, after it."""
        for count, counter in self._counts:
            if outcome := count.outcome(recorded):
                counter.add(1, {"outcome": outcome})
        for duration, histogram in self._durations:
            if (took := duration.seconds(recorded, row)) is not None:
                histogram.record(max(took, 0.0))


class GaugePoller:
    """What the leader reads. Whoever leads no longer says nothing."""

    def __init__(self, meter: Meter, specs: Sequence[MetricSpec]) -> None:
        self._gauges = [
            (one, SettableGauge.create(meter, one.name, one.description)) for one in specs if isinstance(one, GaugeSpec)
        ]

    async def run(self, context: Callable[[], Any]) -> NoReturn:
        """Read until cancelled. A number that cannot be read is not shown."""
        try:
            while True:
                for reading, level in self._gauges:
                    try:
                        level.set(await reading.read(context()), {})
                    except (PyMongoError, NatsError) as error:
                        log.warning("%s cannot be read: %s", reading.name, type(error).__name__)
                        level.clear()
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
        finally:
            for _, level in self._gauges:
                level.clear()
