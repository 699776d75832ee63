"""Authorization of commands that play, retry or cancel jobs: find the build and check the caller's permission."""

from contracts.builds import BuildRow, CancelBuildJob, PlayJob, RetryBuild, RetryJob
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, LaunchSettings
from libs.service.declaration import Context
from services.builds.domain.internal_commands import PlayBuildJob, RerunBuildJob, StopBuildJob
from services.builds.execution.recent_ends import record_end


async def prepare_play(ctx: Context, command: PlayJob) -> PlayBuildJob:
    return PlayBuildJob(await _find_build_id(ctx, command.job_id), command.job_id)


async def prepare_retry(ctx: Context, command: RetryJob) -> RerunBuildJob:
    return RerunBuildJob(await _find_build_id(ctx, command.job_id), command.job_id)


async def prepare_cancel(ctx: Context, command: CancelBuildJob) -> StopBuildJob:
    """Find the build, and record that it may finish now: canceling its last waiting job finishes it.

    Raises JOB_NOT_FOUND and LAUNCH_BUILD_NOT_ALLOWED.
    """
    build_id = await _find_build_id(ctx, command.job_id)
    await record_end(ctx, build_id)
    return StopBuildJob(build_id, command.job_id)


async def prepare_build_retry(ctx: Context, command: RetryBuild) -> RetryBuild:
    """Check that the caller may retry the build. Raises BUILD_NOT_FOUND and LAUNCH_BUILD_NOT_ALLOWED."""
    build = await ctx.read_model(BuildRow).get(f"build-{command.build_id}")
    if build is None:
        raise RequestRejected("BUILD_NOT_FOUND")
    await _require_launch_permission(ctx, build, "BUILD_NOT_FOUND")
    return command


async def _find_build_id(ctx: Context, job_id: int) -> int:
    """Return the id of the job's build. Raises JOB_NOT_FOUND and, without permission, LAUNCH_BUILD_NOT_ALLOWED."""
    build = await ctx.read_model(BuildRow).find_one({"job_ids": job_id})
    if build is None:
        raise RequestRejected("JOB_NOT_FOUND")
    await _require_launch_permission(ctx, build, "JOB_NOT_FOUND")
    return build.id


async def _require_launch_permission(ctx: Context, build: BuildRow, not_found_code: str) -> None:
    """Raise unless the caller may launch builds of the project. For a deleted project, raise `not_found_code`."""
    try:
        settings = await ctx.query(GetLaunchSettings(project_id=build.project_id), LaunchSettings)
    except RequestRejected as rejected:
        raise RequestRejected(not_found_code) if rejected.code == "PROJECT_NOT_FOUND" else rejected from None
    if not settings.allowed:
        raise RequestRejected("LAUNCH_BUILD_NOT_ALLOWED")
