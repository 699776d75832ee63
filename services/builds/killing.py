"""Killing a build by the id that launching it gave."""

from contracts.builds import BuildRow, KillBuild
from contracts.errors import Refused
from libs.service import Context


async def find_running(ctx: Context, command: KillBuild) -> KillBuild:
    """A build that ends between this look and the decision is no mistake of whoever pressed the button."""
    if command.build_id:
        return command
    build: BuildRow | None = await ctx.rows("build").one({"executor_id": command.executor_id})
    if build is None or build.finished:
        raise Refused("EXECUTOR_NOT_FOUND")
    return command.but(build_id=build.id)
