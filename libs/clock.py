"""The two clocks of a process: the host clock, which dates events, and the database clock, which all replicas share.

A time that one replica writes and another compares, such as a lease or an expiry time, is a time of the database clock.
A wrong host clock then has no effect on it. Between two readings, the database time is computed from the monotonic
clock, without a round trip, and is not affected by changes of the host clock.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

log = logging.getLogger("headrace.clock")

MAX_OFFSET_SECONDS = 5.0  # with a larger offset, the process is not ready
READ_INTERVAL_SECONDS = 5.0
MAX_ROUND_TRIP_SECONDS = 2.0  # slower replies are ignored after the first reading, because they are too imprecise
WARNING_INTERVAL_SECONDS = 600.0


def now() -> datetime:
    """Return the host's time in UTC, truncated to milliseconds, the precision of MongoDB."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


class Clock:
    """The clocks of one process. Before the first reading the database time equals the host time."""

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
        """Return the database's time in UTC, truncated to milliseconds."""
        at = self._reading + timedelta(seconds=self.monotonic() - self._read_at)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    @property
    def offset(self) -> float | None:
        """Seconds by which the host clock is ahead of the database clock. None before the first reading."""
        return self._offset

    async def synchronize(self, get_database_time: Callable[[], Awaitable[datetime]]) -> None:
        """Read the database's time. The database is assumed to have read it halfway through the round trip."""
        host_time, start = self.machine_time(), self.monotonic()
        database_time = await get_database_time()
        end = self.monotonic()
        half = (end - start) / 2
        if end - start > MAX_ROUND_TRIP_SECONDS and self._offset is not None:
            return
        self._reading, self._read_at = database_time + timedelta(seconds=half), end
        self._offset = (host_time - database_time).total_seconds() + half
        self._uncertainty = half

    def find_problem(self) -> str | None:
        """Return a message if the host clock is certainly off by more than MAX_OFFSET_SECONDS, else None."""
        if self._offset is None or abs(self._offset) - self._uncertainty <= MAX_OFFSET_SECONDS:
            return None
        return f"the clock is {format_offset(self._offset)} the database's; synchronize it (NTP)"

    def log_problem(self) -> None:
        """Log a clock problem, at most once in ten minutes."""
        problem = self.find_problem()
        if problem and self.monotonic() - self._warned_at >= WARNING_INTERVAL_SECONDS:
            self._warned_at = self.monotonic()
            log.warning("%s", problem)


def format_offset(offset: float) -> str:
    """Format an offset in seconds as text such as `90.0 s ahead of`."""
    return f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'}"
