"""What the end of a build needs before it is decided: which build is meant, when it is, and how long its log took."""

from contracts.builds import BuildRow, FailBuild, KillBuild, PlanBuild, RecordJobResult
from contracts.errors import RequestRejected
from libs.service.declaration import Context
from services.builds.domain.job_graph import JobGraph
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.recent_ends import record_end


class BuildCompletion:
    def __init__(self, attempts: AttemptStore) -> None:
        self._attempts = attempts

    async def prepare_plan(self, ctx: Context, command: PlanBuild) -> PlanBuild:
        if JobGraph.of(command.jobs).is_finished:  # none of its jobs has to run
            await record_end(ctx, command.build_id)
        return command

    async def prepare_failure(self, ctx: Context, command: FailBuild) -> FailBuild:
        await record_end(ctx, command.build_id)
        return command

    async def prepare_job_result(self, ctx: Context, command: RecordJobResult) -> RecordJobResult:
        await record_end(ctx, command.build_id)
        return command.replace(duration_ms=await self._attempts.duration_ms_of_build(ctx, command.build_id))

    async def prepare_kill(self, ctx: Context, command: KillBuild) -> KillBuild:
        """A build that ends between this look and the decision is no mistake of whoever pressed the button."""
        builds = ctx.read_model("build")
        build: BuildRow | None
        if command.build_id:
            build = await builds.get(f"build-{command.build_id}")
        else:
            build = await builds.find_one({"executor_id": command.executor_id})
            if build is None or build.finished:
                raise RequestRejected("EXECUTOR_NOT_FOUND")
        if build is None:
            return command
        await record_end(ctx, build.id)
        return command.replace(
            build_id=build.id, duration_ms=await self._attempts.duration_ms_of_jobs(ctx, build.job_ids)
        )
