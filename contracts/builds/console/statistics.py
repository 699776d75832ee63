"""The query for statistics: builds by day, and the flakiest and slowest jobs."""

from datetime import date

from contracts.messages import Message, Query

MAX_DAYS = 366
MAX_LISTED_JOBS = 100


class GetBuildStatistics(Query):
    """Get statistics of builds by day (UTC) and of jobs. Answer: BuildStatistics.

    Errors: PROJECT_NOT_FOUND; REQUEST_INVALID if the period is empty or over MAX_DAYS, or has too many projects and
    days.
    """

    project_id: int | None = None  # None: all projects that the user may see
    first_day: date
    last_day: date


class BuildDay(Message):
    """Builds that ended on one day. Durations are in seconds, above 1 s accurate to 10 %; None: no build has one."""

    at: date
    succeeded: int
    failed: int
    killed: int
    run_p50: float | None  # 50th percentile of the time on runners
    run_p95: float | None
    wait_p50: float | None  # time from the launch to the first runner, of builds that started on the day
    wait_p95: float | None


class JobNumbers(Message):
    """Attempts, successful or failed, of the jobs with one name in one project, in the months of the period."""

    project_id: int
    name: str
    runs: int
    failed: int
    flaky: int  # attempts that passed after an earlier attempt had failed or lost its runner
    p50: float | None
    p95: float | None


class BuildStatistics(Message):
    days: tuple[BuildDay, ...]  # days with builds, oldest first
    jobs: tuple[JobNumbers, ...]  # at most MAX_LISTED_JOBS: the flakiest, then the slowest
    runner_seconds: int
