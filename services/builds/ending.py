"""What the end of a build needs before it is decided: which build is meant, and how long its log took."""

from contracts.builds import BuildRow, EndJobOfBuild, KillBuild
from contracts.errors import Refused
from libs.service import Context
from services.builds.attempts import Attempts


class Ending:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def of_job(self, ctx: Context, command: EndJobOfBuild) -> EndJobOfBuild:
        return command.but(duration=await self._attempts.seconds_of_build(ctx, command.build_id))

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
        return command.but(build_id=build.id, duration=await self._attempts.seconds(ctx, build.job_ids))
