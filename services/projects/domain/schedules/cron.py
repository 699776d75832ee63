"""The times of a cron expression in a time zone, as Debian's cron computes them. No clock: callers pass the time.

- A time that a change of the clocks skips becomes the first minute after the gap. A time that occurs twice counts once.
- Expressions whose minute or hour begins with `*` run by elapsed time instead: through a gap without a run for the
  skipped hour, and in both occurrences of a repeated one.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from libs.eventstore.decider import RequestRejected

FIELD_COUNT = 5
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
DEFAULT_ZONE = "UTC"
ZONE_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
MACHINE_ZONE = "localtime"  # the zone of the machine, which can differ between replicas
MIN_INTERVAL = timedelta(minutes=5)
CHECKED_FROM = datetime(2024, 1, 1, tzinfo=UTC)  # start of a leap year, so that the first year has every date
CHECKED_RUNS = 200  # more than an hour has minutes and a day has hours, so that the smallest interval is among them
CHECKED_PERIOD = timedelta(days=8 * 366)


def validate_cron(text: str | None) -> str:
    """Return the expression with single spaces, or the macro in lower case.

    Raises RequestRejected with SCHEDULE_CRON_REQUIRED, SCHEDULE_CRON_INVALID or SCHEDULE_CRON_TOO_FREQUENT.
    """
    cron = " ".join((text or "").split())
    if not cron:
        raise RequestRejected("SCHEDULE_CRON_REQUIRED")
    if cron.startswith("@"):
        cron = cron.lower()
        if cron not in MACROS:
            raise RequestRejected("SCHEDULE_CRON_INVALID", f"The macros are {', '.join(MACROS)}.")
        return cron
    if len(cron.split(" ")) != FIELD_COUNT:
        raise RequestRejected("SCHEDULE_CRON_INVALID")
    try:
        times = list(_sample(cron))
    except CronSimError as error:
        raise RequestRejected("SCHEDULE_CRON_INVALID", f"{error}.") from None
    if not times:
        raise RequestRejected("SCHEDULE_CRON_INVALID", "The expression matches no time in the next years.")
    if any(later - earlier < MIN_INTERVAL for earlier, later in pairwise(times)):
        raise RequestRejected("SCHEDULE_CRON_TOO_FREQUENT")
    return cron


def _sample(cron: str) -> Iterator[datetime]:
    """Yield times of the expression in UTC, among them two with the smallest interval."""
    end = CHECKED_FROM + CHECKED_PERIOD
    for at in islice(CronSim(cron, CHECKED_FROM), CHECKED_RUNS):
        yield at
        if at > end:
            return


def validate_zone(text: str | None) -> str:
    """Return the time zone's name, UTC for None or a blank text. Raises RequestRejected with SCHEDULE_ZONE_INVALID."""
    zone = (text or "").strip() or DEFAULT_ZONE
    _load_zone(zone)
    return zone


@lru_cache(maxsize=256)
def _load_zone(name: str) -> ZoneInfo:
    if name == MACHINE_ZONE or not ZONE_PATTERN.fullmatch(name):
        raise RequestRejected("SCHEDULE_ZONE_INVALID")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, or a folder of the time zone database
        raise RequestRejected("SCHEDULE_ZONE_INVALID") from None


def upcoming_times(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield the times of a valid expression that are later than `after`, in UTC and in increasing order."""
    latest = after
    for at in CronSim(MACROS.get(cron, cron), after.astimezone(_load_zone(zone))):
        moment = at.astimezone(UTC)
        # the library goes back by an hour if `after` is in the second occurrence of a repeated hour
        if moment > latest:
            latest = moment
            yield moment


def next_time(cron: str, zone: str, after: datetime) -> datetime | None:
    """Return the first time later than `after`, in UTC. None: none within fifty years."""
    return next(upcoming_times(cron, zone, after), None)
