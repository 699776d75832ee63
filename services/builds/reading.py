"""What people ask of builds."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from contracts.builds import (
    BuildRow,
    BuildStatus,
    GetBuild,
    GetJob,
    JobRow,
    ListBuildsOfProject,
    ListedBuild,
    ListRunning,
    ReadOutput,
)
from contracts.errors import Refused
from libs.service import Context
from services.builds.waiting import NOT_STARTED

MAX_LISTED = 1000  # builds in one list
MAX_LIST_BYTES = 4 * 1024 * 1024  # of JSON, half of what a message of the bus holds
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


async def list_running(ctx: Context, _query: ListRunning) -> list[ListedBuild]:
    on_a_runner = {"$in": [BuildStatus.RUNNING, BuildStatus.CANCELING]}
    return await _list(ctx, {"finished": False, "status": on_a_runner}, 1, MAX_LISTED)


async def list_builds_of_project(ctx: Context, query: ListBuildsOfProject) -> list[ListedBuild]:
    condition = {"project_id": query.project_id, "finished": True, "ran": True}
    return (await _list(ctx, condition, -1, min(query.limit or MAX_LISTED, MAX_LISTED)))[::-1]


async def _list(ctx: Context, condition: Mapping[str, Any], direction: int, limit: int) -> list[ListedBuild]:
    builds: list[ListedBuild] = []
    size = 0
    async for build in ctx.rows("build").only(ListedBuild).each(condition, [("id", direction)], limit=limit):
        size += len(to_json(build))
        if size > MAX_LIST_BYTES:
            break
        builds.append(build)
    return builds


async def read_output(ctx: Context, query: ReadOutput) -> bytes:
    build = await unfinished(ctx, query.executor_id)
    return (WAITING if build.status in NOT_STARTED else build.output or "").encode()


async def unfinished(ctx: Context, executor_id: str) -> BuildRow:
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished:
        raise Refused("EXECUTOR_NOT_FOUND")
    return build
