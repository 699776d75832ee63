"""How long builds are kept: as many as their project wants, and none of a project that is gone.

The number is the one that the project has when one of its builds ends, whatever it was at launch.
"""

import asyncio
from collections.abc import Sequence

from contracts.builds import BuildFinished, BuildRow, BuildStatus, DeleteBuild, JobDeleted, KillBuild
from contracts.errors import RequestRejected
from contracts.projects import GetLaunchSettings, ProjectDeleted
from libs.eventstore.decider import SYSTEM, Actor, RecordedEvent
from libs.service.declaration import Context, RetryLater
from services.builds.execution.attempts import AttemptStore, log_key_name
from services.builds.execution.recent_ends import READABLE_SECONDS, has_ended_recently

BATCH_SIZE = 100
MAX_LAUNCH_SECONDS = 30.0  # seconds from asking for the project's settings until its build is there
RETRY_DELAY_SECONDS = 10.0  # seconds


class Retention:
    def __init__(self, attempts: AttemptStore) -> None:
        self._attempts = attempts
        self._purging_since: dict[int, float] = {}  # projects: since when, by the monotonic clock

    async def enforce(self, ctx: Context, recorded: RecordedEvent[BuildFinished]) -> None:
        """The work after a build is over. A build that could not be planned takes no other's place."""
        project_id, build_id = recorded.event.project_id, recorded.event.build_id
        spared: list[int] = []
        try:
            keep = (await ctx.query(GetLaunchSettings(project_id=project_id)))["keep_number_build"]
        except RequestRejected as refused:
            if refused.code != "PROJECT_NOT_FOUND":
                raise
            keep = 0
        else:
            if keep is None or await _is_unplanned(ctx, build_id):
                return
            if await has_ended_recently(ctx, build_id):  # its live log is still read
                spared = [build_id]
        await _delete_finished(ctx, project_id, keep, SYSTEM, spared)
        if spared and await _find_surplus(ctx, project_id, keep, ()):
            raise RetryLater(READABLE_SECONDS)

    async def purge_project(self, ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
        """The work after a project was deleted, until no build of it is left, nor any that was just being launched."""
        project_id = recorded.event.project_id
        async for build in ctx.read_model("build").walk({"project_id": project_id, "finished": False}):
            await ctx.send(KillBuild(build_id=build.id), step=str(build.id))
        await _delete_finished(ctx, project_id, 0, None)
        some_left = await ctx.read_model("build").find_one({"project_id": project_id}) is not None
        # not by the time of the event: the clock of the replica that recorded it may be another one
        since = self._purging_since.pop(project_id, ctx.clock.monotonic())
        if some_left or ctx.clock.monotonic() - since < MAX_LAUNCH_SECONDS:
            if len(self._purging_since) >= BATCH_SIZE:  # projects that another replica has cleared since
                self._purging_since.pop(next(iter(self._purging_since)))
            self._purging_since[project_id] = since
            raise RetryLater(RETRY_DELAY_SECONDS)
        await ctx.vault.shred(log_key_name(project_id))

    async def purge_job(self, ctx: Context, recorded: RecordedEvent[JobDeleted]) -> None:
        """The work after a job was deleted."""
        await self._attempts.delete_attempts_of_job(ctx, recorded.event.job_id)


async def _is_unplanned(ctx: Context, build_id: int) -> bool:
    build: BuildRow | None = await ctx.read_model("build").get(f"build-{build_id}")
    return build is not None and build.status is BuildStatus.FAILED and not build.job_ids


async def _delete_finished(
    ctx: Context, project_id: int, keep: int, actor: Actor | None, spared: Sequence[int] = ()
) -> None:
    """All but the newest, and those that never ran."""
    finished = {"project_id": project_id, "finished": True}
    while builds := await ctx.read_model("build").find({**finished, "ran": False}, [("id", -1)], limit=BATCH_SIZE):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))
    while builds := await _find_surplus(ctx, project_id, keep, spared):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))


async def _find_surplus(ctx: Context, project_id: int, keep: int, spared: Sequence[int]) -> list[BuildRow]:
    """Finished builds beyond the newest ones, as many as are deleted at a time."""
    finished = {"project_id": project_id, "finished": True}
    found: list[BuildRow] = await ctx.read_model("build").find(finished, [("id", -1)], skip=keep, limit=BATCH_SIZE)
    return [build for build in found if build.id not in spared]


async def _delete(ctx: Context, build_id: int, actor: Actor | None) -> None:
    try:
        await ctx.send(DeleteBuild(build_id=build_id), step=str(build_id), actor=actor)
    except RequestRejected as refused:
        if refused.code != "BUILD_NOT_FOUND":  # somebody else deleted it in this very moment
            raise
