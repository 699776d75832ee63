"""Statistics of builds by project and day, and of jobs by project, month and name.

They are cumulative: deleting builds does not change them.
"""

from pydantic import Field

from contracts.builds import BuildFinished, BuildStarted, BuildStatus, JobFinished, JobRetried, JobStatus
from contracts.messages import Event, ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import BATCH_SECONDS, Projection
from services.builds.domain.build_state import duration_ms_of
from services.builds.duration_histogram import add_seconds

MAX_NAME_LENGTH = 255


class BuildDayRow(ReadModelRow):
    """Builds of one project that ended on one day (UTC), and the wait times of builds started on that day."""

    project_id: int = 0
    day: str = ""  # ISO 8601
    succeeded: int = 0
    failed: int = 0
    killed: int = 0
    milliseconds: int = 0  # total time on runners
    run_times: dict[str, int] = Field(default_factory=dict)  # histogram of the builds' times on runners
    wait_times: dict[str, int] = Field(
        default_factory=dict
    )  # histogram of the time from the launch to the first runner


class JobMonthRow(ReadModelRow):
    """Attempts of all jobs of one name in one project that passed or failed in one month (UTC)."""

    project_id: int = 0
    month: str = ""  # ISO 8601, without a day
    name: str = ""
    runs: int = 0
    failed: int = 0
    flaky: int = 0  # passed after an earlier attempt had failed or lost its runner
    run_times: dict[str, int] = Field(default_factory=dict)


def build_day_key(recorded: RecordedEvent[Event]) -> str | None:
    match recorded.event:
        case BuildFinished(project_id=project_id):
            return f"{project_id}/{recorded.at:%Y-%m-%d}"
        case BuildStarted(project_id=project_id, queued_at=queued_at) if queued_at:
            return f"{project_id}/{recorded.at:%Y-%m-%d}"
        case _:
            return None


def add_build(row: BuildDayRow, recorded: RecordedEvent[BuildFinished | BuildStarted]) -> BuildDayRow:
    event = recorded.event
    row = row.replace(project_id=event.project_id, day=f"{recorded.at:%Y-%m-%d}")
    if isinstance(event, BuildStarted):
        waited = (recorded.at - event.queued_at).total_seconds() if event.queued_at else 0
        return row.replace(wait_times=add_seconds(row.wait_times, waited))
    milliseconds = duration_ms_of(event)
    return row.replace(
        succeeded=row.succeeded + (event.status is BuildStatus.SUCCESS),
        failed=row.failed + (event.status is BuildStatus.FAILED),
        killed=row.killed + (event.status is BuildStatus.KILLED),
        milliseconds=row.milliseconds + milliseconds,
        run_times=add_seconds(row.run_times, milliseconds / 1000) if milliseconds else row.run_times,
    )


def job_month_key(recorded: RecordedEvent[Event]) -> str | None:
    match recorded.event:
        case JobRetried() | JobFinished(status=JobStatus.SUCCESS | JobStatus.FAILED):
            event: JobRetried | JobFinished = recorded.event
            return f"{event.project_id}/{recorded.at:%Y-%m}/{event.job_name[:MAX_NAME_LENGTH]}"
        case _:
            return None


def add_job(row: JobMonthRow, recorded: RecordedEvent[JobRetried | JobFinished]) -> JobMonthRow:
    event = recorded.event
    has_passed = isinstance(event, JobFinished) and event.status is JobStatus.SUCCESS
    return row.replace(
        project_id=event.project_id,
        month=f"{recorded.at:%Y-%m}",
        name=event.job_name[:MAX_NAME_LENGTH],
        runs=row.runs + 1,
        failed=row.failed + (not has_passed),
        flaky=row.flaky + (isinstance(event, JobFinished) and event.recovered),
        run_times=row.run_times if event.duration_ms is None else add_seconds(row.run_times, event.duration_ms / 1000),
    )


build_days = Projection(
    "build_days",
    "builds",
    build_day_key,
    BuildDayRow(),
    add_build,
    indexes=(("day", "project_id"), ("project_id", "day")),
    is_cumulative=True,
    batch_seconds=BATCH_SECONDS,
)
job_months = Projection(
    "job_months",
    "builds",
    job_month_key,
    JobMonthRow(),
    add_job,
    indexes=(("month", "project_id"), ("project_id", "month")),
    is_cumulative=True,
    batch_seconds=BATCH_SECONDS,
)
