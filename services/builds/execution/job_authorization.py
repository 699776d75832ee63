"""Authorization of commands that play, retry or cancel jobs: find the build and check the caller's permission."""

from typing import TypeVar

from contracts.builds import BuildRow, CancelBuildJob, PlayJob, RetryBuild, RetryJob
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service.declaration import Context
from services.builds.execution.recent_ends import record_end

J = TypeVar("J", PlayJob, RetryJob, CancelBuildJob)


async def prepare_job_command(ctx: Context, command: J) -> J:
    """Add the build id to a command about a job. Raises JOB_NOT_FOUND and LAUNCH_BUILD_NOT_ALLOWED."""
    build = await ctx.read_model(BuildRow).find_one({"job_ids": command.job_id})
    if build is None:
        raise RequestRejected("JOB_NOT_FOUND")
    await _require_launch_permission(ctx, build, "JOB_NOT_FOUND")
    return command.replace(build_id=build.id)


async def prepare_stop_command(ctx: Context, command: CancelBuildJob) -> CancelBuildJob:
    """Add the build id, and record that the build may finish now: canceling its last waiting job finishes it."""
    found = await prepare_job_command(ctx, command)
    await record_end(ctx, found.build_id)
    return found


async def prepare_build_command(ctx: Context, command: RetryBuild) -> RetryBuild:
    """Check that the caller may retry the build. Raises BUILD_NOT_FOUND and LAUNCH_BUILD_NOT_ALLOWED."""
    build = await ctx.read_model(BuildRow).get(f"build-{command.build_id}")
    if build is None:
        raise RequestRejected("BUILD_NOT_FOUND")
    await _require_launch_permission(ctx, build, "BUILD_NOT_FOUND")
    return command


async def _require_launch_permission(ctx: Context, build: BuildRow, not_found_code: str) -> None:
    """Raise unless the caller may launch builds of the project. For a deleted project, raise `not_found_code`."""
    try:
        settings = await ctx.query(GetLaunchSettings(project_id=build.project_id), LaunchSettings)
    except RequestRejected as rejected:
        raise RequestRejected(not_found_code) if rejected.code == "PROJECT_NOT_FOUND" else rejected from None
    if not settings.allowed:
        raise RequestRejected("LAUNCH_BUILD_NOT_ALLOWED")
