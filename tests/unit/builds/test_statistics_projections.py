"""Statistics of builds and jobs: what each event adds, and the percentiles that follow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.builds import BuildFinished, BuildStarted, BuildStatus, JobFinished, JobRetried, JobStatus
from contracts.messages import Event
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.builds.duration_histogram import add_seconds, combine, estimate_percentile
from services.builds.statistics_projections import (
    BuildDayRow,
    JobMonthRow,
    add_build,
    add_job,
    build_day_key,
    job_month_key,
)

LAUNCH = datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC)
JOB = {"job_id": 5, "build_id": 1, "project_id": 7, "job_name": "test"}


def record(event: Event, seconds: float) -> RecordedEvent[Event]:
    return RecordedEvent("build-1", 1, 0, event, CommandMetadata("c", LAUNCH + timedelta(seconds=seconds)))


def finished(status: BuildStatus, milliseconds: int) -> BuildFinished:
    return BuildFinished(
        build_id=1,
        executor_id="e",
        project_id=7,
        project_name="shop",
        status=status,
        exit_code=0,
        queued_at=LAUNCH,
        duration_ms=milliseconds,
    )


def started(queued_at: datetime | None) -> BuildStarted:
    return BuildStarted(build_id=1, project_id=7, executor_id="e", runner_name="r", queued_at=queued_at)


def test_a_build_counts_on_the_day_of_its_end_and_its_wait_on_that_of_its_start() -> None:
    row = BuildDayRow()
    events = [
        (started(LAUNCH), 20),
        (finished(BuildStatus.SUCCESS, 60_000), 80),
        (finished(BuildStatus.FAILED, 0), 90),
        (finished(BuildStatus.KILLED, 500), 95),
    ]
    for event, seconds in events:
        recorded: RecordedEvent[Any] = record(event, seconds)
        assert build_day_key(recorded) == "7/2026-03-02"
        row = add_build(row, recorded)
    assert (row.day, row.succeeded, row.failed, row.killed, row.milliseconds) == ("2026-03-02", 1, 1, 1, 60_500)
    assert (sum(row.run_times.values()), sum(row.wait_times.values())) == (2, 1)
    assert estimate_percentile(row.wait_times, 0.5) == pytest.approx(20, rel=0.1)
    assert estimate_percentile(row.run_times, 0.95) == pytest.approx(60, rel=0.1)


def test_a_build_that_is_run_again_or_was_recorded_by_an_older_release_has_no_wait() -> None:
    assert build_day_key(record(started(None), 20)) is None


def test_a_job_that_passes_after_a_failure_is_flaky_but_not_one_that_runs_again_after_a_success() -> None:
    events: list[Event] = [
        JobRetried(**JOB, attempt=1, exit_code=1, duration_ms=4000),
        JobFinished(**JOB, attempt=2, status=JobStatus.SUCCESS, exit_code=0, duration_ms=2000, recovered=True),
        JobFinished(**JOB, attempt=3, status=JobStatus.SUCCESS, exit_code=0),
    ]
    row = JobMonthRow()
    for event in events:
        recorded: RecordedEvent[Any] = record(event, 0)
        assert job_month_key(recorded) == "7/2026-03/test"
        row = add_job(row, recorded)
    assert (row.name, row.runs, row.failed, row.flaky, sum(row.run_times.values())) == ("test", 3, 1, 1, 2)
    canceled = JobFinished(**JOB, attempt=1, status=JobStatus.CANCELED, exit_code=143)
    assert job_month_key(record(canceled, 0)) is None


def test_percentiles_are_estimated_within_ten_percent() -> None:
    histogram: dict[str, int] = {}
    for seconds in range(1, 1001):
        histogram = add_seconds(histogram, seconds)
    assert estimate_percentile(histogram, 0.5) == pytest.approx(500, rel=0.1)
    assert estimate_percentile(combine([histogram, histogram]), 0.95) == pytest.approx(950, rel=0.1)
    assert estimate_percentile({}, 0.5) is None
