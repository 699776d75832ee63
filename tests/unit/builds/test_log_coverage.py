"""The coverage of a job is the number in the last match of its pattern in the log."""

import pytest

from contracts.builds import JobRow
from services.builds.logs.log_coverage import MAX_LINE_BYTES, CoverageSearch, mean_coverage


def search(literal: str, *parts: bytes) -> float | None:
    coverage = CoverageSearch(literal)
    for part in parts:
        coverage.feed(part)
    coverage.finish_line()
    return coverage.percent


@pytest.mark.parametrize(
    ("literal", "log", "percent"),
    [
        (r"/^TOTAL.+?(\d+)%/", b"TOTAL   120   30   75%\n", 75.0),
        (r"/^TOTAL.+?(\d+)%/", b"TOTAL 10 1 90%\nTOTAL 10 5 50%\nended\n", 50.0),
        (r"/\d+\.\d+%/", b"covered: 87.654% of lines, 12.5% of branches", 12.5),
        (r"/coverage: (\d+,\d+)/", b"coverage: 87,5", 87.5),
        (r"/Coverage: (\d+)/i", b"COVERAGE: 7\r\n", 7.0),
        (r"/(lines|branches): (\d+)/", b"lines: 30", 30.0),
        (r"/all: (\d+)/", b"\x1b[32mall: \x1b[1m88\x1b[0m\n", 88.0),
        (r"/all: (\d+)/", b"all: 200\n", None),
        (r"/all: (\d+)/", b"all: 60\nall: 200\n", 60.0),
        (r"/all: (.*)/", b"all: none\n", None),
        (r"/all/", b"", None),
    ],
)
def test_the_last_match_counts(literal: str, log: bytes, percent: float | None) -> None:
    assert search(literal, log) == percent
    assert search(literal, *(log[i : i + 1] for i in range(len(log)))) == percent


def test_a_hostile_pattern_takes_linear_time() -> None:
    assert search(r"/(a*)*(a*)*(a*)*b(\d+)/", b"a" * 2 * MAX_LINE_BYTES) is None


def test_a_match_does_not_cross_lines() -> None:
    assert search(r"/total\s*(\d+)/s", b"total\n99\n") is None


def test_the_coverage_of_a_build_is_the_mean_of_its_jobs() -> None:
    jobs = [JobRow(coverage=80.0), JobRow(), JobRow(coverage=81.5)]
    assert mean_coverage(jobs) == 80.75
    assert mean_coverage([JobRow()]) is None
