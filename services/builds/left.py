"""What jobs left, by the numbers that they and their builds have in their project: artifacts, and logs as files."""

from collections.abc import Iterator

from contracts.builds import TRACE, BuildRow, FileOfJob, JobRow, ListFiles, ReadTrace, TracePart
from contracts.errors import Refused
from contracts.messages import Page
from libs.service import Context
from services.builds.artifacts import expired
from services.builds.lines import lines_after


async def list_files(ctx: Context, query: ListFiles) -> Page:
    logs = ctx.collection("attempts")
    files: list[FileOfJob] = []
    for job in await _jobs(ctx, query):
        log = await logs.find_one({"_id": job.token_hash}, {"length": 1}) if job.token_hash else None
        files += _files(job, log["length"] if log else None, ctx)
    first = query.page * query.size
    shown = files[first : first + query.size]
    return Page(rows=tuple(one.model_dump(mode="json") for one in shown), total=len(files))


async def _jobs(ctx: Context, query: ListFiles) -> list[JobRow]:
    if query.job_local_id is not None:
        job: JobRow | None = await ctx.rows("job").one({"project_id": query.project_id, "local_id": query.job_local_id})
        if job is None:
            raise Refused("JOB_NOT_FOUND")
        return [job]
    build: BuildRow | None = await ctx.rows("build").one(
        {"project_id": query.project_id, "local_id": query.build_local_id}
    )
    if build is None:
        raise Refused("BUILD_NOT_FOUND")
    return await ctx.rows("job").find({"build_id": build.id}, [("id", 1)])


def _files(job: JobRow, log_length: int | None, ctx: Context) -> Iterator[FileOfJob]:
    """Of those that are there the log comes last."""
    for artifact in job.artifacts:
        if not expired(artifact, ctx.clock.database_time()):
            yield FileOfJob(**artifact.model_dump(), job_id=job.id, job_local_id=job.local_id)
    if log_length is not None and job.assigned_at is not None:
        yield FileOfJob(
            id=job.uuid,
            artifact_type=TRACE,
            artifact_format="raw",
            file_name="job.log",
            size=log_length,
            uploaded_at=job.finished_at or job.assigned_at,
            job_id=job.id,
            job_local_id=job.local_id,
        )


async def read_trace(ctx: Context, query: ReadTrace) -> TracePart:
    of_job = {"job_id": query.job_id, **({"number": query.attempt} if query.attempt else {})}
    found = await ctx.collection("attempts").find_one(of_job, {"sections": 1}, sort=[("number", -1)])
    if found is None or not query.job_id:
        raise Refused("JOB_NOT_FOUND")
    lines = await lines_after(ctx, found["_id"], query.section, query.line_number, whole=True)
    section, line_number = (query.section, lines.known) if lines.more else (query.section + 1, 0)
    more = section < len(found["sections"])
    return TracePart(lines=tuple(lines.text), section=section, line_number=line_number, more=more)
