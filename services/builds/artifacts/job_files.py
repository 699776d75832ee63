"""Files of jobs: lists of artifacts and logs, and the lines of a log."""

from collections.abc import Iterator
from datetime import datetime

from contracts.builds import TRACE_TYPE, BuildRow, GetTrace, JobFile, JobRow, ListJobFiles, TraceChunk
from contracts.errors import RequestRejected
from contracts.messages import Page
from libs.projections.paging import select_rows
from libs.service.declaration import Context
from services.builds.artifacts.artifacts import is_expired
from services.builds.logs.log_lines import read_lines_after


async def list_job_files(ctx: Context, query: ListJobFiles) -> Page:
    """Return a page of the files of one job, or of all jobs of a build. Raises JOB_NOT_FOUND and BUILD_NOT_FOUND."""
    logs = ctx.collection("attempts")
    files: list[JobFile] = []
    for job in await _find_jobs(ctx, query):
        log = await logs.find_one({"_id": job.token_hash}, {"length": 1}) if job.token_hash else None
        files += _files_of_job(job, log["length"] if log else None, ctx)
    page = select_rows(files, query, _sort_key)
    return page.render(page.rows)


def _sort_key(file: JobFile) -> tuple[int, bool, datetime, str]:
    """Return the sort key of a file: by job, then artifacts in the order of their upload, then the log."""
    return file.job_id, file.artifact_type == TRACE_TYPE, file.uploaded_at, file.id


async def _find_jobs(ctx: Context, query: ListJobFiles) -> list[JobRow]:
    if query.job_local_id is not None:
        job = await ctx.read_model(JobRow).find_one({"project_id": query.project_id, "local_id": query.job_local_id})
        if job is None:
            raise RequestRejected("JOB_NOT_FOUND")
        return [job]
    build = await ctx.read_model(BuildRow).find_one({"project_id": query.project_id, "local_id": query.build_local_id})
    if build is None:
        raise RequestRejected("BUILD_NOT_FOUND")
    return await ctx.read_model(JobRow).find({"build_id": build.id}, [("id", 1)])


def _files_of_job(job: JobRow, log_length: int | None, ctx: Context) -> Iterator[JobFile]:
    """Yield the artifacts of a job that have not expired, then its log."""
    for artifact in job.artifacts:
        if not is_expired(artifact, ctx.clock.database_time()):
            yield JobFile(**artifact.model_dump(), job_id=job.id, job_local_id=job.local_id)
    if log_length is not None and job.assigned_at is not None:
        yield JobFile(
            id=job.uuid,
            artifact_type=TRACE_TYPE,
            artifact_format="raw",
            file_name="job.log",
            size=log_length,
            uploaded_at=job.finished_at or job.assigned_at,
            job_id=job.id,
            job_local_id=job.local_id,
        )


async def get_trace(ctx: Context, query: GetTrace) -> TraceChunk:
    """Return the next lines of the log of one attempt, by default the latest one. Raises JOB_NOT_FOUND."""
    of_job = {"job_id": query.job_id, **({"number": query.attempt} if query.attempt else {})}
    found = await ctx.collection("attempts").find_one(of_job, {"sections": 1}, sort=[("number", -1)])
    if found is None or not query.job_id:
        raise RequestRejected("JOB_NOT_FOUND")
    lines = await read_lines_after(ctx, found["_id"], query.section, query.line_number, closed=True)
    section, line_number = (query.section, lines.line_number) if lines.more else (query.section + 1, 0)
    more = section < len(found["sections"])
    return TraceChunk(lines=tuple(lines.text), section=section, line_number=line_number, more=more)
