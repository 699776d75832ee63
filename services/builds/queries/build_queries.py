"""What people ask of builds."""

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from contracts.builds import (
    BuildRow,
    BuildStatus,
    BuildSummary,
    GetBuild,
    GetBuildOutput,
    GetJob,
    JobRow,
    ListProjectBuilds,
    ListRunningBuilds,
)
from contracts.errors import RequestRejected
from libs.service.declaration import Context
from services.builds.queries.queue_queries import NOT_STARTED

MAX_LISTED_BUILDS = 1000  # builds in one list
MAX_LIST_BYTES = 4 * 1024 * 1024  # of JSON, half of what a message of the bus holds
WAITING_OUTPUT = "The build waits in the queue or is just being started."


async def get_build(ctx: Context, query: GetBuild) -> BuildRow:
    if query.build_id is not None:
        build: BuildRow | None = await ctx.read_model("build").get(f"build-{query.build_id}")
        if build is None:
            raise RequestRejected("BUILD_NOT_FOUND")
        return build
    running: BuildRow | None = await ctx.read_model("build").find_one({"executor_id": query.executor_id or ""})
    if running is None:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return running


async def get_job(ctx: Context, query: GetJob) -> JobRow:
    job: JobRow | None = await ctx.read_model("job").get(f"job-{query.job_id}")
    if job is None:
        raise RequestRejected("JOB_NOT_FOUND")
    return job.replace(token_hash="")


async def list_running_builds(ctx: Context, _query: ListRunningBuilds) -> list[BuildSummary]:
    on_a_runner = {"$in": [BuildStatus.RUNNING, BuildStatus.CANCELING]}
    return await _list_builds(ctx, {"finished": False, "status": on_a_runner}, 1, MAX_LISTED_BUILDS)


async def list_builds_of_project(ctx: Context, query: ListProjectBuilds) -> list[BuildSummary]:
    condition = {"project_id": query.project_id, "finished": True, "ran": True}
    return (await _list_builds(ctx, condition, -1, min(query.limit or MAX_LISTED_BUILDS, MAX_LISTED_BUILDS)))[::-1]


async def _list_builds(ctx: Context, condition: Mapping[str, Any], direction: int, limit: int) -> list[BuildSummary]:
    builds: list[BuildSummary] = []
    size = 0
    async for build in (
        ctx.read_model("build").select(BuildSummary).iterate(condition, [("id", direction)], limit=limit)
    ):
        size += len(to_json(build))
        if size > MAX_LIST_BYTES:
            break
        builds.append(build)
    return builds


async def read_output(ctx: Context, query: GetBuildOutput) -> bytes:
    build = await get_unfinished_build(ctx, query.executor_id)
    return (WAITING_OUTPUT if build.status in NOT_STARTED else build.output or "").encode()


async def get_unfinished_build(ctx: Context, executor_id: str) -> BuildRow:
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return build
