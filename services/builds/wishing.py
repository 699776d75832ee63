"""What people wish of single jobs: which build is meant, and whether they may."""

from typing import TypeVar

from contracts.builds import BuildRow, PlayJob, RetryBuild, RetryJob, StopJob
from contracts.errors import Refused
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service import Context
from services.builds.recent_ends import record_end

J = TypeVar("J", PlayJob, RetryJob, StopJob)


async def of_job(ctx: Context, command: J) -> J:
    build: BuildRow | None = await ctx.rows("build").one({"job_ids": command.job_id})
    if build is None:
        raise Refused("JOB_NOT_FOUND")
    await _allowed(ctx, build, "JOB_NOT_FOUND")
    return command.but(build_id=build.id)


async def of_stop(ctx: Context, command: StopJob) -> StopJob:
    """A build whose last waiting job is canceled ends with it."""
    found = await of_job(ctx, command)
    await record_end(ctx, found.build_id)
    return found


async def of_build(ctx: Context, command: RetryBuild) -> RetryBuild:
    build: BuildRow | None = await ctx.rows("build").get(f"build-{command.build_id}")
    if build is None:
        raise Refused("BUILD_NOT_FOUND")
    await _allowed(ctx, build, "BUILD_NOT_FOUND")
    return command


async def _allowed(ctx: Context, build: BuildRow, gone: str) -> None:
    """Who may launch builds of the project. The builds of a deleted one go a little later than itself."""
    try:
        answer = await ctx.ask(GetLaunchSettings(project_id=build.project_id))
    except Refused as refused:
        raise Refused(gone) if refused.code == "PROJECT_NOT_FOUND" else refused from None
    if not LaunchSettings.model_validate(answer).allowed:
        raise Refused("LAUNCH_BUILD_NOT_ALLOWED")
