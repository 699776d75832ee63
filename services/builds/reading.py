"""What people ask of builds."""

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    GetJob,
    JobRow,
    ListBuildsOfProject,
    ListRunning,
    ReadOutput,
)
from contracts.errors import Refused
from libs.service import Context
from services.builds.waiting import NOT_STARTED

WAITING = "The build waits in the queue or is just being started."


async def get_build(ctx: Context, query: GetBuild) -> BuildRow:
    if query.build_id is not None:
        build: BuildRow | None = await ctx.rows("build").get(f"build-{query.build_id}")
        if build is None:
            raise Refused("BUILD_NOT_FOUND")
        return build
    running: BuildRow | None = await ctx.rows("build").one({"executor_id": query.executor_id or ""})
    if running is None:
        raise Refused("EXECUTOR_NOT_FOUND")
    return running


async def get_job(ctx: Context, query: GetJob) -> JobRow:
    job: JobRow | None = await ctx.rows("job").get(f"job-{query.job_id}")
    if job is None:
        raise Refused("JOB_NOT_FOUND")
    return job.but(token_hash="")


async def list_running(ctx: Context, _query: ListRunning) -> list[BuildRow]:
    on_a_runner = {"$in": [BuildStatus.RUNNING, BuildStatus.CANCELING]}
    return await ctx.rows("build").find({"finished": False, "status": on_a_runner}, [("id", 1)])


async def list_builds_of_project(ctx: Context, query: ListBuildsOfProject) -> list[BuildRow]:
    condition = {"project_id": query.project_id, "finished": True, "ran": True}
    order = [("id", -1 if query.limit else 1)]
    builds: list[BuildRow] = await ctx.rows("build").find(condition, order, limit=query.limit)
    return sorted(builds, key=lambda build: build.id)


async def read_output(ctx: Context, query: ReadOutput) -> bytes:
    build = await unfinished(ctx, query.executor_id)
    return (WAITING if build.status in NOT_STARTED else build.output or "").encode()


async def unfinished(ctx: Context, executor_id: str) -> BuildRow:
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished:
        raise Refused("EXECUTOR_NOT_FOUND")
    return build
