"""What the end of a build needs before it is decided: which build is meant, when it is, and how long its log took."""

from contracts.builds import BuildRow, EndJobOfBuild, FailBuild, KillBuild, PlanBuild
from contracts.errors import Refused
from libs.service import Context
from services.builds.attempts import Attempts
from services.builds.domain.progress import Progress
from services.builds.recent_ends import record_end


class Ending:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def by_plan(self, ctx: Context, command: PlanBuild) -> PlanBuild:
        if Progress.of(command.jobs).over:  # none of its jobs has to run
            await record_end(ctx, command.build_id)
        return command

    async def by_failure(self, ctx: Context, command: FailBuild) -> FailBuild:
        await record_end(ctx, command.build_id)
        return command

    async def of_job(self, ctx: Context, command: EndJobOfBuild) -> EndJobOfBuild:
        await record_end(ctx, command.build_id)
        return command.but(duration_ms=await self._attempts.milliseconds_of_build(ctx, command.build_id))

    async def by_kill(self, ctx: Context, command: KillBuild) -> KillBuild:
        """A build that ends between this look and the decision is no mistake of whoever pressed the button."""
        builds = ctx.rows("build")
        build: BuildRow | None
        if command.build_id:
            build = await builds.get(f"build-{command.build_id}")
        else:
            build = await builds.one({"executor_id": command.executor_id})
            if build is None or build.finished:
                raise Refused("EXECUTOR_NOT_FOUND")
        if build is None:
            return command
        await record_end(ctx, build.id)
        return command.but(build_id=build.id, duration_ms=await self._attempts.milliseconds(ctx, build.job_ids))
