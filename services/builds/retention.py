"""How long builds are kept: as many as their project wants, and none of a project that is gone.

The number is the one that the project has when one of its builds ends, whatever it was at launch.
"""

import asyncio
from collections.abc import Sequence

from contracts.builds import BuildFinished, BuildRow, BuildStatus, DeleteBuild, JobDeleted, KillBuild
from contracts.errors import Refused
from contracts.projects import GetLaunchSettings, ProjectDeleted
from libs.deciding import SYSTEM, Actor, Recorded
from libs.service import Context, TryLater
from services.builds.attempts import Attempts, sealed_for
from services.builds.recent_ends import READABLE_SECONDS, ended_recently

AT_ONCE = 100
LONGEST_LAUNCH = 30.0  # seconds from asking for the project's settings until its build is there
AGAIN = 10.0  # seconds


class Retention:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._clearing: dict[int, float] = {}  # projects: since when, by the monotonic clock

    async def keep_newest(self, ctx: Context, recorded: Recorded[BuildFinished]) -> None:
        """The work after a build is over. A build that could not be planned takes no other's place."""
        project_id, build_id = recorded.event.project_id, recorded.event.build_id
        spared: list[int] = []
        try:
            keep = (await ctx.ask(GetLaunchSettings(project_id=project_id)))["keep_number_build"]
        except Refused as refused:
            if refused.code != "PROJECT_NOT_FOUND":
                raise
            keep = 0
        else:
            if keep is None or await _unplanned(ctx, build_id):
                return
            if await ended_recently(ctx, build_id):  # its live log is still read
                spared = [build_id]
        await _delete_finished(ctx, project_id, keep, SYSTEM, spared)
        if spared and await _surplus(ctx, project_id, keep, ()):
            raise TryLater(READABLE_SECONDS)

    async def clear(self, ctx: Context, recorded: Recorded[ProjectDeleted]) -> None:
        """The work after a project was deleted, until no build of it is left, nor any that was just being launched."""
        project_id = recorded.event.project_id
        async for build in ctx.rows("build").walk({"project_id": project_id, "finished": False}):
            await ctx.tell(KillBuild(build_id=build.id), step=str(build.id))
        await _delete_finished(ctx, project_id, 0, None)
        some_left = await ctx.rows("build").one({"project_id": project_id}) is not None
        # not by the time of the event: the clock of the replica that recorded it may be another one
        since = self._clearing.pop(project_id, ctx.clock.monotonic())
        if some_left or ctx.clock.monotonic() - since < LONGEST_LAUNCH:
            if len(self._clearing) >= AT_ONCE:  # projects that another replica has cleared since
                self._clearing.pop(next(iter(self._clearing)))
            self._clearing[project_id] = since
            raise TryLater(AGAIN)
        await ctx.vault.erase(sealed_for(project_id))

    async def remove(self, ctx: Context, recorded: Recorded[JobDeleted]) -> None:
        """The work after a job was deleted."""
        await self._attempts.remove(ctx, recorded.event.job_id)


async def _unplanned(ctx: Context, build_id: int) -> bool:
    build: BuildRow | None = await ctx.rows("build").get(f"build-{build_id}")
    return build is not None and build.status is BuildStatus.FAILED and not build.job_ids


async def _delete_finished(
    ctx: Context, project_id: int, keep: int, actor: Actor | None, spared: Sequence[int] = ()
) -> None:
    """All but the newest, and those that never ran."""
    finished = {"project_id": project_id, "finished": True}
    while builds := await ctx.rows("build").find({**finished, "ran": False}, [("id", -1)], limit=AT_ONCE):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))
    while builds := await _surplus(ctx, project_id, keep, spared):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))


async def _surplus(ctx: Context, project_id: int, keep: int, spared: Sequence[int]) -> list[BuildRow]:
    """Finished builds beyond the newest ones, as many as are deleted at a time."""
    finished = {"project_id": project_id, "finished": True}
    found: list[BuildRow] = await ctx.rows("build").find(finished, [("id", -1)], skip=keep, limit=AT_ONCE)
    return [build for build in found if build.id not in spared]


async def _delete(ctx: Context, build_id: int, actor: Actor | None) -> None:
    try:
        await ctx.tell(DeleteBuild(build_id=build_id), step=str(build_id), actor=actor)
    except Refused as refused:
        if refused.code != "BUILD_NOT_FOUND":  # somebody else deleted it in this very moment
            raise
