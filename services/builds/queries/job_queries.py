"""Lists of jobs: those of a build, and all of them page by page, straight from the indexes however many there are."""

from typing import Any

from contracts.builds import (
    UNFINISHED_TIME,
    BuildJobStatus,
    BuildJobView,
    BuildRow,
    GetBuild,
    JobRow,
    JobStatus,
    ListBuildJobs,
    ListJobs,
)
from contracts.messages import Page
from libs.projections.cached_paging import CountedList
from libs.service.declaration import Context
from services.builds.queries.build_queries import get_build

INTERNAL_FIELDS = {"token_hash", "steps", "project", "listed_at", "planned"}


async def list_jobs_of_build(ctx: Context, query: ListBuildJobs) -> list[BuildJobView]:
    build: BuildRow = await get_build(ctx, GetBuild(build_id=query.build_id))
    jobs: list[JobRow] = await ctx.read_model("job").find({"build_id": build.id}, [("id", 1)])
    if not build.jobs:
        return [_to_job_view(job) for job in jobs]
    known = {job.id: job for job in jobs}
    return [_to_pipeline_job_view(one, known.get(one.job_id)) for one in build.jobs]


def _to_pipeline_job_view(seen: BuildJobStatus, job: JobRow | None) -> BuildJobView:
    """At work as its own row says it; else what its build says."""
    if job is None:
        return BuildJobView(
            id=seen.job_id,
            local_id=None,
            name=seen.name,
            stage=seen.stage,
            status=seen.status,
            when=seen.when,
            allow_failure=seen.allow_failure,
        )
    found = _to_job_view(job).replace(when=seen.when, allow_failure=seen.allow_failure)
    return found if seen.status is JobStatus.QUEUED else found.replace(status=seen.status)


def _to_job_view(job: JobRow) -> BuildJobView:
    return BuildJobView(
        id=job.id,
        local_id=job.local_id,
        name=job.name,
        stage=job.stage,
        status=job.status,
        attempt=job.attempt,
        runner=job.runner_name,
        exit_code=job.exit_code,
        exit_message=job.message,
        queued_at=job.queued_at,
        started_at=job.started_at,
        completed_at=job.finished_at,
    )


class ListJobsHandler:
    def __init__(self) -> None:
        self._jobs = CountedList[JobRow]("listed_at", unsettled_time=UNFINISHED_TIME)

    async def list_jobs(self, ctx: Context, query: ListJobs) -> Page:
        if query.statuses == ():
            return Page(rows=(), total=0)
        wanted: dict[str, Any] = {}
        if query.runner_uuid is not None:
            wanted["runner_uuid"] = query.runner_uuid
        if query.statuses is not None:
            wanted["status"] = {"$in": list(query.statuses)}
        key = (ctx.settings.database_prefix, query.runner_uuid, query.statuses)
        rows, total = await self._jobs.fetch_slice(ctx.read_model("job"), key, wanted, query)
        return Page(rows=tuple(map(_to_list_row, rows)), total=total)


def _to_list_row(row: JobRow) -> dict[str, Any]:
    """Gateways up to 0.2.0 fail at the status WARNING in a list, so it is answered as a flag beside FAILED."""
    allowed = row.status is JobStatus.WARNING
    shown = row.replace(status=JobStatus.FAILED) if allowed else row
    return {**shown.model_dump(mode="json", exclude=INTERNAL_FIELDS), "failure_allowed": allowed}
