"""Times of log sections: the server's start time of the job plus the offsets measured with the runner's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.builds import PlannedStep, Section
from libs.section_markers import format_job_marker
from services.builds.logs.log_sections import SplitLog, close_section, split_sections

WORD = "0123456789ab"
STEPS = tuple(PlannedStep(name=f"@{name}", script=f"/{name}.sh") for name in ("one", "two"))
START = datetime(2026, 7, 1, 12, 0, 0, 250_000, UTC)
OPENED = (Section(step="init", start_at=START),)
SKEWS = (0, -3_600_000, 3_600_000, 90_000, -(10**12))  # milliseconds by which the clock of the runner is ahead


def after_start(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def marker(how: str, index: int, time: int) -> bytes:
    return f"section_{how}:{time}:hr_{WORD}_{index}\r\x1b[0K".encode()


def step_log(index: int, start: datetime, end: datetime, skew: int) -> bytes:
    opened, closed = milliseconds(start) + skew, milliseconds(end) + skew
    return marker("start", index, opened) + b"text\n" + marker("end", index, closed)


def section_times(split_log: SplitLog) -> list[tuple[datetime | None, datetime | None]]:
    return [(section.start_at, section.closed_at) for section in split_log.sections]


@pytest.mark.parametrize("skew", SKEWS)
def test_section_times_are_relative_to_the_job_start_on_the_runner(skew: int) -> None:
    log = format_job_marker(WORD, milliseconds(START) + skew) + step_log(0, after_start(1.001), after_start(1.5), skew)
    first = split_sections(log, OPENED, STEPS, WORD, after_start(3))
    second = split_sections(
        step_log(1, after_start(1.502), after_start(4.004), skew),
        first.sections,
        STEPS,
        WORD,
        after_start(6),
        first.runner_start_ms,
    )
    expected = [
        (START, after_start(1.001)),
        (after_start(1.001), after_start(1.5)),
        (after_start(1.502), after_start(4.004)),
    ]
    assert section_times(second) == expected
    assert [section.text for section in first.texts] == [b"text\n"]


@pytest.mark.parametrize("skew", [0, -3_600_000, 3_600_000, -(10**12)])
def test_the_clock_offset_is_estimated_if_the_runner_reports_no_start(skew: int) -> None:
    log = step_log(0, after_start(1), after_start(2), skew) + step_log(1, after_start(2), after_start(3), skew)
    split_log = split_sections(log, OPENED, STEPS, WORD, after_start(3 if skew else 4))
    assert section_times(split_log) == [
        (START, after_start(1)),
        (after_start(1), after_start(2)),
        (after_start(2), after_start(3)),
    ]


def test_section_markers_in_seconds_are_accepted() -> None:
    second = START.timestamp() // 1
    at = datetime.fromtimestamp(second, UTC)
    log = marker("start", 0, int(second) + 2) + marker("end", 0, int(second) + 5)
    split_log = split_sections(log, OPENED, STEPS, WORD, after_start(8))
    assert section_times(split_log)[1] == (at + timedelta(seconds=2), at + timedelta(seconds=5))


@pytest.mark.parametrize("jump", [-3_600_000, 3_600_000, 10**14])
def test_a_clock_jump_gives_no_negative_or_future_times(jump: int) -> None:
    log = format_job_marker(WORD, milliseconds(START)) + step_log(0, after_start(1), after_start(2), 0)
    first = split_sections(log, OPENED, STEPS, WORD, after_start(3))
    jumped = split_sections(
        step_log(1, after_start(3), after_start(4), jump),
        first.sections,
        STEPS,
        WORD,
        after_start(5),
        first.runner_start_ms,
    )
    *before, (start, end) = section_times(jumped)
    assert before == [(START, after_start(1)), (after_start(1), after_start(2))]
    assert start is not None
    assert end is not None
    assert after_start(2) <= start <= end <= after_start(5)


def test_only_the_first_reported_job_start_counts() -> None:
    log = format_job_marker(WORD, milliseconds(START)) + format_job_marker(WORD, 1)
    assert split_sections(log, OPENED, STEPS, WORD, after_start(1)).runner_start_ms == milliseconds(START)
    assert (
        split_sections(format_job_marker("ba9876543210", 1), OPENED, STEPS, WORD, after_start(1)).runner_start_ms
        is None
    )


@pytest.mark.parametrize("behind", [1, 90])
def test_no_section_ends_before_its_start_if_the_clock_of_a_replica_is_behind(behind: int) -> None:
    """Release 0.2.0 recorded a section's start by the clock of a replica, so the start can lie in the future."""
    log = marker("start", 0, milliseconds(after_start(-behind)))
    split_log = split_sections(log, OPENED, STEPS, WORD, after_start(-behind))
    last = close_section(split_log.sections[-1], STEPS, after_start(-behind), success=True)
    for start_at, closed_at in section_times(SplitLog([], [*split_log.sections[:-1], last], None)):
        assert start_at is not None
        assert closed_at is not None
        assert start_at <= closed_at
