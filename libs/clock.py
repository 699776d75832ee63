"""The clocks of a process: its machine's, which events are recorded with, and the database's, which replicas share.

What one replica writes and another one compares, such as leases and expiry times, goes by the database's clock, so that
a replica whose own clock is wrong does no harm. Between two readings the database's time advances with the monotonic
clock, so that asking for it costs no round trip and a step of the machine's clock does not change it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

log = logging.getLogger("headrace.clock")

MAX_OFFSET_SECONDS = 5.0  # a process whose clock is off by more is not ready
READ_INTERVAL_SECONDS = 5.0
MAX_ROUND_TRIP_SECONDS = 2.0  # a slower answer says too little about the moment
WARNING_INTERVAL_SECONDS = 600.0


def now() -> datetime:
    """Return the machine's time in UTC, to the millisecond: what MongoDB keeps."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


class Clock:
    """The clocks of one process. Before the first reading the database's time is taken to be the machine's."""

    def __init__(
        self, machine_time: Callable[[], datetime] = now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.machine_time = machine_time
        self.monotonic = monotonic
        self._reading = machine_time()  # the database's time at `_read_at`
        self._read_at = monotonic()
        self._offset: float | None = None
        self._uncertainty = 0.0
        self._warned_at = float("-inf")

    def database_time(self) -> datetime:
        """Return the database's time in UTC, to the millisecond."""
        at = self._reading + timedelta(seconds=self.monotonic() - self._read_at)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    @property
    def offset(self) -> float | None:
        """Seconds by which the machine's clock is ahead of the database's. None: not known yet."""
        return self._offset

    async def synchronize(self, get_database_time: Callable[[], Awaitable[datetime]]) -> None:
        """Take a reading. `ask` returns the database's time; it is assumed to be that of half the round trip."""
        machine, began = self.machine_time(), self.monotonic()
        answer = await get_database_time()
        ended = self.monotonic()
        half = (ended - began) / 2
        if ended - began > MAX_ROUND_TRIP_SECONDS and self._offset is not None:
            return
        self._reading, self._read_at = answer + timedelta(seconds=half), ended
        self._offset = (machine - answer).total_seconds() + half
        self._uncertainty = half

    def find_problem(self) -> str | None:
        """Say how far the machine's clock is off, if it is off by more than the limit beyond doubt."""
        if self._offset is None or abs(self._offset) - self._uncertainty <= MAX_OFFSET_SECONDS:
            return None
        return f"the clock is {format_offset(self._offset)} the database's; synchronise it (NTP)"

    def log_problem(self) -> None:
        """Log the problem, at most once in ten minutes."""
        problem = self.find_problem()
        if problem and self.monotonic() - self._warned_at >= WARNING_INTERVAL_SECONDS:
            self._warned_at = self.monotonic()
            log.warning("%s", problem)


def format_offset(offset: float) -> str:
    """Describe an offset in seconds, such as `90.0 s ahead of`."""
    return f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'}"
