"""The times of cron expressions: accepted expressions, time zones, and changes of the clocks."""

from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import RequestRejected
from services.projects.domain.schedules.cron import (
    MACROS,
    next_time,
    upcoming_times,
    validate_cron,
    validate_zone,
)

BERLIN = "Europe/Berlin"


def code_of(cron: str | None) -> str:
    try:
        validate_cron(cron)
    except RequestRejected as rejected:
        return rejected.code
    return ""


def times_in_utc(cron: str, after: str, count: int, zone: str = BERLIN) -> list[str]:
    """Return the next `count` times in UTC as day and time, such as `29. 01:00`. `after` is a time in UTC."""
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    return [at.strftime("%d. %H:%M") for at in islice(upcoming_times(cron, zone, start), count)]


@pytest.mark.parametrize(
    ("cron", "code"),
    [
        ("30 2 * * 1-5", ""),
        ("*/5 * * * *", ""),
        ("0 0 L * *", ""),
        ("0 0 * * FRI#2", ""),
        ("0 0 29 2 *", ""),
        ("0,5 0 1 1 *", ""),
        ("@DAILY", ""),
        (None, "SCHEDULE_CRON_REQUIRED"),
        ("  ", "SCHEDULE_CRON_REQUIRED"),
        ("* * * *", "SCHEDULE_CRON_INVALID"),
        ("0 0 * * * 0", "SCHEDULE_CRON_INVALID"),
        ("60 * * * *", "SCHEDULE_CRON_INVALID"),
        ("0 0 31 2 *", "SCHEDULE_CRON_INVALID"),
        ("@reboot", "SCHEDULE_CRON_INVALID"),
        ("5-0 * * * *", "SCHEDULE_CRON_INVALID"),
        ("0/0 * * * *", "SCHEDULE_CRON_INVALID"),
        ("* * * * *", "SCHEDULE_CRON_TOO_FREQUENT"),
        ("*/4 * * * *", "SCHEDULE_CRON_TOO_FREQUENT"),
        ("0,59 * * * *", "SCHEDULE_CRON_TOO_FREQUENT"),
        ("0,4 0 1 1 *", "SCHEDULE_CRON_TOO_FREQUENT"),
        ("0,58 0,23 * * *", "SCHEDULE_CRON_TOO_FREQUENT"),
    ],
)
def test_expressions_are_checked(cron: str | None, code: str) -> None:
    assert code_of(cron) == code


@given(st.text(alphabet="0123456789*/,-#L @MONJABC²٣\n", max_size=40))
def test_any_text_is_accepted_or_rejected_with_a_code(text: str) -> None:
    assert code_of(text) in (
        "",
        "SCHEDULE_CRON_REQUIRED",
        "SCHEDULE_CRON_INVALID",
        "SCHEDULE_CRON_TOO_FREQUENT",
    )


def test_all_macros_are_valid() -> None:
    assert [code_of(expression) for expression in MACROS.values()] == [""] * len(MACROS)


def test_spaces_are_reduced() -> None:
    assert validate_cron(" 0\t0  * * * ") == "0 0 * * *"


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "localtime", "Europe", "../etc/passwd", "/etc/localtime", "UTC\0", "é"]
)
def test_unknown_time_zones_are_rejected(zone: str) -> None:
    with pytest.raises(RequestRejected) as rejected:
        validate_zone(zone)
    assert rejected.value.code == "SCHEDULE_ZONE_INVALID"


def test_the_default_time_zone_is_utc() -> None:
    assert [validate_zone(None), validate_zone(" "), validate_zone("Etc/GMT+5")] == ["UTC", "UTC", "Etc/GMT+5"]


def test_a_time_is_that_of_the_zone() -> None:
    assert times_in_utc("30 2 * * *", "2026-01-10T12:00", 2) == ["11. 01:30", "12. 01:30"]
    assert times_in_utc("30 2 * * *", "2026-07-10T12:00", 1) == ["11. 00:30"]


def test_a_due_time_is_later_than_the_given_one() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert next_time("@yearly", "UTC", at) == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_skipped_time_runs_at_the_end_of_the_gap() -> None:
    # on March 29, 2026 the time from 2:00 to 3:00 does not exist; 3:00 is 1:00 UTC
    assert times_in_utc("30 2 * * *", "2026-03-28T12:00", 2) == ["29. 01:00", "30. 00:30"]


def test_a_repeated_time_runs_once() -> None:
    # on October 25, 2026 the time from 2:00 to 3:00 occurs at 0:00 and at 1:00 UTC
    assert times_in_utc("30 2 * * *", "2026-10-24T12:00", 2) == ["25. 00:30", "26. 01:30"]
    # a schedule that starts between the two occurrences does not run at the second one
    assert times_in_utc("30 2 * * *", "2026-10-25T01:10", 1) == ["26. 01:30"]


def test_expressions_with_a_star_run_by_elapsed_time() -> None:
    assert times_in_utc("0 * * * *", "2026-03-29T00:10", 2) == ["29. 01:00", "29. 02:00"]
    assert times_in_utc("0 * * * *", "2026-10-25T00:10", 2) == ["25. 01:00", "25. 02:00"]
    assert times_in_utc("*/30 2 * * *", "2026-03-29T00:10", 1) == ["30. 00:00"]
    assert times_in_utc("*/30 2 * * *", "2026-10-24T23:50", 4) == ["25. 00:00", "25. 00:30", "25. 01:00", "25. 01:30"]
