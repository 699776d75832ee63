"""Build queries: one build or job, running builds, finished builds of a project, and output."""

from collections.abc import Mapping

from pydantic_core import to_json

from contracts.builds import (
    BuildFinished,
    BuildRow,
    BuildStatus,
    BuildSummary,
    GetBuild,
    GetBuildOutput,
    GetJob,
    GetPreviousResult,
    JobRow,
    ListProjectBuilds,
    ListRunningBuilds,
    PreviousResult,
)
from contracts.errors import RequestRejected
from contracts.messages import Page
from libs.permissions.rule import without_projects
from libs.projections.paging import fetch_page
from libs.service.declaration import Context
from services.builds.queries.project_access import list_hidden_projects
from services.builds.queries.queue_queries import NOT_STARTED

MAX_LISTED_BUILDS = 1000
MAX_LIST_BYTES = 4 * 1024 * 1024  # JSON of one list: half of the maximum size of a message
RESULTS = (BuildStatus.SUCCESS, BuildStatus.FAILED)
WAITING_OUTPUT = "The build is queued or about to start."


async def get_build(ctx: Context, query: GetBuild) -> BuildRow:
    """Return a build by its id or executor id. Raises BUILD_NOT_FOUND or EXECUTOR_NOT_FOUND."""
    if query.build_id is not None:
        build = await ctx.read_model(BuildRow).get(f"build-{query.build_id}")
        if build is None:
            raise RequestRejected("BUILD_NOT_FOUND")
        return build
    found = await ctx.read_model(BuildRow).find_one({"executor_id": query.executor_id or ""})
    if found is None:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return found


async def get_job(ctx: Context, query: GetJob) -> JobRow:
    """Return a job without its token hash. Raises JOB_NOT_FOUND."""
    job = await ctx.read_model(JobRow).get(f"job-{query.job_id}")
    if job is None:
        raise RequestRejected("JOB_NOT_FOUND")
    return job.replace(token_hash="")


async def get_previous_result(ctx: Context, query: GetPreviousResult) -> PreviousResult:
    """Return the previous result of a build: of its latest earlier round that succeeded or failed.

    Without such a round, return the result of the latest older build of the same ref that succeeded or failed. Without
    such a build, the status is None. Raises BUILD_NOT_FOUND.
    """
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    if build.round:
        finished = {"name": BuildFinished.wire_name, "data.status": {"$in": list(RESULTS)}}
        earlier = {"stream": f"build-{build.id}", "version": {"$lt": query.version}}
        commit = await ctx.collection("commits").find_one(
            {**earlier, "events": {"$elemMatch": finished}}, sort=[("version", -1)]
        )
        if commit:
            event = next(event for event in commit["events"] if event["name"] == BuildFinished.wire_name)
            return PreviousResult(status=event["data"]["status"])
    if build.ref is None:
        return PreviousResult(status=None)
    older = {
        "project_id": build.project_id,
        "finished": True,
        "id": {"$lt": build.id},
        "ref": build.ref,
        "status": {"$in": list(RESULTS)},
    }
    found = await ctx.read_model(BuildRow).find_values(older, "status", order=[("id", -1)], limit=1)
    return PreviousResult(status=found[0][0] if found else None)


async def list_running_builds(ctx: Context, query: ListRunningBuilds) -> Page:
    """Return the builds that run or are being canceled and that the actor may see, oldest first."""
    running = {"finished": False, "status": {"$in": [BuildStatus.RUNNING, BuildStatus.CANCELING]}}
    running |= without_projects(await list_hidden_projects(ctx))
    builds = ctx.read_model(BuildRow).select(BuildSummary)
    return await fetch_page(builds, query, lambda build: build, condition=running)


async def list_project_builds(ctx: Context, query: ListProjectBuilds) -> list[BuildSummary]:
    """Return the newest finished builds of a project that ran, oldest first."""
    condition = {"project_id": query.project_id, "finished": True, "ran": True}
    return (await _list_builds(ctx, condition, -1, min(query.limit or MAX_LISTED_BUILDS, MAX_LISTED_BUILDS)))[::-1]


async def _list_builds(ctx: Context, condition: Mapping[str, object], direction: int, limit: int) -> list[BuildSummary]:
    builds: list[BuildSummary] = []
    size = 0
    async for build in (
        ctx.read_model(BuildRow).select(BuildSummary).iterate(condition, [("id", direction)], limit=limit)
    ):
        size += len(to_json(build))
        if size > MAX_LIST_BYTES:
            break
        builds.append(build)
    return builds


async def get_build_output(ctx: Context, query: GetBuildOutput) -> bytes:
    """Return the output of an unfinished build; before its start, a notice. Raises EXECUTOR_NOT_FOUND."""
    build = await get_unfinished_build(ctx, query.executor_id)
    return (WAITING_OUTPUT if build.status in NOT_STARTED else build.output or "").encode()


async def get_unfinished_build(ctx: Context, executor_id: str) -> BuildRow:
    build = await get_build(ctx, GetBuild(executor_id=executor_id))
    if build.finished:
        raise RequestRejected("EXECUTOR_NOT_FOUND")
    return build
