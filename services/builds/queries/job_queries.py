"""Job queries: the jobs of a build, and pages of all jobs, read from indexes."""

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
from libs.projections.counted_list import CountedList
from libs.service.declaration import Context
from services.builds.queries.build_queries import get_build

INTERNAL_FIELDS = {"token_hash", "steps", "project", "listed_at", "planned", "earlier_attempts"}


async def list_build_jobs(ctx: Context, query: ListBuildJobs) -> list[BuildJobView]:
    """Return the jobs of a build. Raises BUILD_NOT_FOUND."""
    build: BuildRow = await get_build(ctx, GetBuild(build_id=query.build_id))
    jobs = await ctx.read_model(JobRow).find({"build_id": build.id}, [("id", 1)])
    if not build.jobs:
        return [_to_job_view(job) for job in jobs]
    jobs_by_id = {job.id: job for job in jobs}
    return [_to_pipeline_job_view(listed, jobs_by_id.get(listed.job_id)) for listed in build.jobs]


def _to_pipeline_job_view(listed: BuildJobStatus, job: JobRow | None) -> BuildJobView:
    """Return a pipeline job. Its status comes from its own row while it is queued or running, else from the build."""
    if job is None:
        return BuildJobView(
            id=listed.job_id,
            local_id=None,
            name=listed.name,
            stage=listed.stage,
            status=listed.status,
            when=listed.when,
            allow_failure=listed.allow_failure,
        )
    view = _to_job_view(job).replace(when=listed.when, allow_failure=listed.allow_failure)
    return view if listed.status is JobStatus.QUEUED else view.replace(status=listed.status)


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
        coverage=job.coverage,
        queued_at=job.queued_at,
        started_at=job.started_at,
        completed_at=job.finished_at,
    )


class ListJobsHandler:
    """Handler for ListJobs. It caches page anchors in this process."""

    def __init__(self) -> None:
        self._jobs = CountedList[JobRow]("listed_at", unsettled_time=UNFINISHED_TIME)

    async def list_jobs(self, ctx: Context, query: ListJobs) -> Page:
        """Return a page of jobs by runner and status, unfinished jobs first, then the most recently finished."""
        if query.statuses == ():
            return Page(rows=(), total=0)
        condition: dict[str, object] = {}
        if query.runner_uuid is not None:
            condition["runner_uuid"] = query.runner_uuid
        if query.statuses is not None:
            condition["status"] = {"$in": list(query.statuses)}
        key = (ctx.settings.database_prefix, query.runner_uuid, query.statuses)
        page = await self._jobs.fetch_rows(ctx.read_model(JobRow), key, condition, query)
        return page.render(map(_to_list_row, page.rows))


def _to_list_row(row: JobRow) -> dict[str, object]:
    """Return the row as JSON.

    WARNING is sent as FAILED with a flag, because gateways up to 0.2.0 reject it in lists.
    """
    allowed = row.status is JobStatus.WARNING
    sent = row.replace(status=JobStatus.FAILED) if allowed else row
    return {**sent.model_dump(mode="json", exclude=INTERNAL_FIELDS), "failure_allowed": allowed}
