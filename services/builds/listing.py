"""Lists of jobs: those of a build, and all of them page by page, straight from the indexes however many there are."""

from typing import Any

from contracts.builds import (
    UNFINISHED,
    BuildRow,
    GetBuild,
    JobInBuild,
    JobOfBuild,
    JobRow,
    JobStatus,
    ListJobs,
    ListJobsOfBuild,
)
from contracts.messages import Page
from libs.milestones import LongList
from libs.service import Context
from services.builds.reading import get_build

INTERNAL = {"token_hash", "steps", "project", "listed_at", "planned"}


async def list_jobs_of_build(ctx: Context, query: ListJobsOfBuild) -> list[JobInBuild]:
    build: BuildRow = await get_build(ctx, GetBuild(build_id=query.build_id))
    jobs: list[JobRow] = await ctx.rows("job").find({"build_id": build.id}, [("id", 1)])
    if not build.jobs:
        return [_in_build(job) for job in jobs]
    known = {job.id: job for job in jobs}
    return [_of_pipeline(one, known.get(one.job_id)) for one in build.jobs]


def _of_pipeline(seen: JobOfBuild, job: JobRow | None) -> JobInBuild:
    """At work as its own row says it; else what its build says."""
    if job is None:
        return JobInBuild(
            id=seen.job_id,
            local_id=None,
            name=seen.name,
            stage=seen.stage,
            status=seen.status,
            when=seen.when,
            allow_failure=seen.allow_failure,
        )
    found = _in_build(job).but(when=seen.when, allow_failure=seen.allow_failure)
    return found if seen.status is JobStatus.QUEUED else found.but(status=seen.status)


def _in_build(job: JobRow) -> JobInBuild:
    return JobInBuild(
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


class JobList:
    def __init__(self) -> None:
        self._long = LongList[JobRow]("listed_at", moving=UNFINISHED)

    async def show(self, ctx: Context, query: ListJobs) -> Page:
        if query.statuses == ():
            return Page(rows=(), total=0)
        wanted: dict[str, Any] = {}
        if query.runner_uuid is not None:
            wanted["runner_uuid"] = query.runner_uuid
        if query.statuses is not None:
            wanted["status"] = {"$in": list(query.statuses)}
        key = (ctx.settings.database_prefix, query.runner_uuid, query.statuses)
        rows, total = await self._long.slice(ctx.rows("job"), key, wanted, query)
        return Page(rows=tuple(map(_listed, rows)), total=total)


def _listed(row: JobRow) -> dict[str, Any]:
    """Gateways up to 0.2.0 fail at the status WARNING in a list, so it is answered as a flag beside FAILED."""
    allowed = row.status is JobStatus.WARNING
    shown = row.but(status=JobStatus.FAILED) if allowed else row
    return {**shown.model_dump(mode="json", exclude=INTERNAL), "failure_allowed": allowed}
