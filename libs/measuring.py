"""What a service measures of itself: its own events as they are recorded, and what its leader reads now and then."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nats.errors import Error as NatsError
from opentelemetry.metrics import Meter
from pymongo.errors import PyMongoError

from contracts.messages import Row
from libs.deciding import Recorded
from libs.observability.metrics import LONG_SECONDS, Level, seconds

log = logging.getLogger("headrace.measuring")

READ_EVERY = 5.0  # seconds


@dataclass(frozen=True)
class Count:
    """Events by their outcome, one of few. Each counts once, where it is recorded: a crash may lose one."""

    name: str
    description: str
    outcome: Callable[[Recorded[Any]], str | None]  # None: it does not count
    outcomes: tuple[str, ...]  # all there are: they are shown from the start, so that the first one is seen to come


@dataclass(frozen=True)
class Duration:
    """Seconds that something took, known with an event and the row of its stream."""

    name: str
    description: str
    seconds: Callable[[Recorded[Any], Any], float | None]  # None: the event does not tell


@dataclass(frozen=True)
class Reading:
    """A number that the leading replica reads from the database every few seconds. Must stay cheap with a long log."""

    name: str
    description: str
    read: Callable[[Any], Awaitable[float]]  # takes a Context


Measure = Count | Duration | Reading


class Tally:
    """Counts and durations of one process."""

    def __init__(self, meter: Meter, measures: Sequence[Measure]) -> None:
        self._counts = [
            (one, meter.create_counter(one.name, description=one.description))
            for one in measures
            if isinstance(one, Count)
        ]
        self._durations = [
            (one, seconds(meter, one.name, one.description, LONG_SECONDS))
            for one in measures
            if isinstance(one, Duration)
        ]
        for count, counter in self._counts:
            for outcome in count.outcomes:
                counter.add(0, {"outcome": outcome})

    def take(self, recorded: Recorded[Any], row: Row) -> None:
        """`row`: of the event's stream, after it."""
        for count, counter in self._counts:
            if outcome := count.outcome(recorded):
                counter.add(1, {"outcome": outcome})
        for duration, histogram in self._durations:
            if (took := duration.seconds(recorded, row)) is not None:
                histogram.record(max(took, 0.0))


class Readings:
    """What the leader reads. Whoever leads no longer says nothing."""

    def __init__(self, meter: Meter, measures: Sequence[Measure]) -> None:
        self._levels = [
            (one, Level.of(meter, one.name, one.description)) for one in measures if isinstance(one, Reading)
        ]

    async def run(self, context: Callable[[], Any]) -> NoReturn:
        """Read until cancelled. A number that cannot be read is not shown."""
        try:
            while True:
                for reading, level in self._levels:
                    try:
                        level.set(await reading.read(context()), {})
                    except (PyMongoError, NatsError) as error:
                        log.warning("%s cannot be read: %s", reading.name, type(error).__name__)
                        level.withdraw()
                await asyncio.sleep(READ_EVERY)
        finally:
            for _, level in self._levels:
                level.withdraw()
