"""Statistics for a period, from the projections by day and month. The number of rows that a query reads is bounded."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TypeVar

from contracts.builds import MAX_DAYS, MAX_LISTED_JOBS, BuildDay, BuildStatistics, GetBuildStatistics, JobNumbers
from contracts.errors import RequestRejected
from contracts.messages import ReadModelRow
from libs.documents import Document
from libs.permissions.rule import without_projects
from libs.projections.read_model import Order, ReadModel
from libs.service.declaration import Context
from services.builds.duration_histogram import combine, estimate_percentile
from services.builds.queries.project_access import list_hidden_projects
from services.builds.statistics_projections import BuildDayRow, JobMonthRow

MAX_ROWS = 20_000
R = TypeVar("R", bound=ReadModelRow)


async def get_build_statistics(ctx: Context, query: GetBuildStatistics) -> BuildStatistics:
    """Return the statistics of one project, or of all projects that the user may see.

    Raises REQUEST_INVALID for a period that is too long or has too many builds.
    """
    if not 0 <= (query.last_day - query.first_day).days < MAX_DAYS:
        raise RequestRejected("REQUEST_INVALID", f"The period must have 1 to {MAX_DAYS} days.")
    if query.project_id is None:
        projects = without_projects(await list_hidden_projects(ctx))
    else:
        projects = {"project_id": query.project_id}
    first, last = query.first_day.isoformat(), query.last_day.isoformat()
    in_period = {"day": {"$gte": first, "$lte": last}, **projects}
    days = await _find_rows(ctx.read_model(BuildDayRow), in_period, (("day", 1),))
    in_months = {"month": {"$gte": first[:7], "$lte": last[:7]}, **projects}
    jobs = await _find_rows(ctx.read_model(JobMonthRow), in_months, (("month", 1),))
    numbers = sorted(_combine_jobs(jobs), key=lambda job: (-job.flaky, -(job.p95 or 0), job.name))
    return BuildStatistics(
        days=tuple(_combine_days(days)),
        jobs=tuple(numbers[:MAX_LISTED_JOBS]),
        runner_seconds=sum(row.milliseconds for row in days) // 1000,
    )


async def _find_rows(rows: ReadModel[R], condition: Document, order: Order) -> Sequence[R]:
    found = await rows.find(condition, order, limit=MAX_ROWS + 1)
    if len(found) > MAX_ROWS:
        raise RequestRejected(
            "REQUEST_INVALID", "The period has too many builds. Choose a project or a shorter period."
        )
    return found


def _combine_days(rows: Sequence[BuildDayRow]) -> Iterable[BuildDay]:
    for day, group in groupby(rows, key=lambda row: row.day):
        of_day = list(group)
        run_times = combine(row.run_times for row in of_day)
        wait_times = combine(row.wait_times for row in of_day)
        yield BuildDay.model_validate(
            {
                "at": day,
                "succeeded": sum(row.succeeded for row in of_day),
                "failed": sum(row.failed for row in of_day),
                "killed": sum(row.killed for row in of_day),
                "run_p50": estimate_percentile(run_times, 0.5),
                "run_p95": estimate_percentile(run_times, 0.95),
                "wait_p50": estimate_percentile(wait_times, 0.5),
                "wait_p95": estimate_percentile(wait_times, 0.95),
            }
        )


def _combine_jobs(rows: Sequence[JobMonthRow]) -> Iterable[JobNumbers]:
    ordered = sorted(rows, key=_job_key)
    for (project_id, name), group in groupby(ordered, key=_job_key):
        months = list(group)
        run_times = combine(row.run_times for row in months)
        yield JobNumbers(
            project_id=project_id,
            name=name,
            runs=sum(row.runs for row in months),
            failed=sum(row.failed for row in months),
            flaky=sum(row.flaky for row in months),
            p50=estimate_percentile(run_times, 0.5),
            p95=estimate_percentile(run_times, 0.95),
        )


def _job_key(row: JobMonthRow) -> tuple[int, str]:
    return row.project_id, row.name
