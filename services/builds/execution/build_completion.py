"""Preparation of commands that may finish a build: look up the build and its duration, and record its end."""

from contracts.builds import BuildRow, KillBuild
from contracts.errors import RequestRejected
from libs.service.declaration import Context
from services.builds.domain.internal_commands import EndJobOfBuild, FailBuild, PlanBuild, RecordJobResult, StopBuild
from services.builds.domain.job_graph import JobGraph
from services.builds.execution.attempt_durations import duration_ms_of_build, duration_ms_of_jobs
from services.builds.execution.recent_ends import record_end


async def prepare_plan(ctx: Context, command: PlanBuild) -> PlanBuild:
    """Record that the build may finish now, if its plan has no job to run."""
    if JobGraph.of(command.jobs).is_finished:
        await record_end(ctx, command.build_id)
    return command


async def prepare_failure(ctx: Context, command: FailBuild) -> FailBuild:
    """Record that the build finishes now, because it could not be planned."""
    await record_end(ctx, command.build_id)
    return command


async def prepare_job_result(ctx: Context, command: EndJobOfBuild) -> RecordJobResult:
    """Add the duration of the build so far, and record that the build may finish now."""
    await record_end(ctx, command.build_id)
    return RecordJobResult(**vars(command), duration_ms=await duration_ms_of_build(ctx, command.build_id))


async def prepare_kill(ctx: Context, command: KillBuild) -> StopBuild:
    """Find the build and its duration, and record that it may finish now. Raises EXECUTOR_NOT_FOUND."""
    builds = ctx.read_model(BuildRow)
    if command.build_id:
        build = await builds.get(f"build-{command.build_id}")
    else:
        build = await builds.find_one({"executor_id": command.executor_id})
        if build is None or build.finished:
            raise RequestRejected("EXECUTOR_NOT_FOUND")
    if build is None:
        return StopBuild(command.build_id)
    if not build.finished:
        await record_end(ctx, build.id)
    return StopBuild(build.id, duration_ms=await duration_ms_of_jobs(ctx, build.job_ids))
