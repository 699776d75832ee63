"""Deletion of surplus builds: keep the newest builds of each project, and delete all builds of a deleted project.

The number of builds to keep is read from the project when one of its builds finishes.
"""

import asyncio
from collections.abc import Sequence

from cachetools import LRUCache

from contracts.builds import BuildFinished, BuildRow, BuildStatus, DeleteBuild, JobDeleted, KillBuild
from contracts.errors import RequestRejected
from contracts.projects import ProjectDeleted
from libs.eventstore.decider import SYSTEM, Actor, RecordedEvent
from libs.service.declaration import Context, RetryLater
from services.builds.execution import recent_ends
from services.builds.execution.attempts import AttemptStore
from services.builds.logs.log_masking import log_key_name
from services.builds.reports.report_store import delete_reports_of_job
from services.builds.retention.limits import fetch_limits

BATCH_SIZE = 100
MAX_LAUNCH_SECONDS = 30.0  # longest time from reading the project's settings until the launch is recorded
RETRY_DELAY_SECONDS = 10.0


class Retention:
    """Workers that delete builds, jobs and their logs."""

    def __init__(self, attempts: AttemptStore) -> None:
        self._attempts = attempts
        # project id -> monotonic time at which its purge started; entries remain if another replica finishes the purge
        self._purging_since: LRUCache[int, float] = LRUCache(BATCH_SIZE)

    async def enforce(self, ctx: Context, recorded: RecordedEvent[BuildFinished]) -> None:
        """Delete surplus builds after a build has finished.

        After a build that could not be planned, no builds are deleted. In a deleted project, all builds are surplus.
        """
        project_id, build_id = recorded.event.project_id, recorded.event.build_id
        still_read: list[int] = []
        limits = await fetch_limits(ctx, project_id)
        keep = limits.build_count if limits else 0
        if keep is None:
            return
        if limits:
            if await _is_unplanned(ctx, build_id):
                return
            if await recent_ends.has_ended_recently(ctx, build_id):  # clients may still read its live log
                still_read = [build_id]
        await _delete_finished(ctx, project_id, keep, SYSTEM, still_read)
        if still_read and await _find_surplus(ctx, project_id, keep, ()):
            raise RetryLater(recent_ends.READABLE_SECONDS)

    async def purge_project(self, ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
        """Kill and delete all builds of a deleted project, also builds whose launch was in progress at the time.

        Raises RetryLater until all are deleted. Then delete the key that encrypts values in their logs.
        """
        project_id = recorded.event.project_id
        async for build in ctx.read_model(BuildRow).walk({"project_id": project_id, "finished": False}):
            await ctx.send(KillBuild(build_id=build.id), step=str(build.id))
        await _delete_finished(ctx, project_id, 0, None)
        some_left = await ctx.read_model(BuildRow).find_one({"project_id": project_id}) is not None
        # the event's time is not used, because it comes from the clock of another replica
        since = self._purging_since.pop(project_id, ctx.clock.monotonic())
        if some_left or ctx.clock.monotonic() - since < MAX_LAUNCH_SECONDS:
            self._purging_since[project_id] = since
            raise RetryLater(RETRY_DELAY_SECONDS)
        await ctx.vault.shred(log_key_name(project_id))

    async def purge_job(self, ctx: Context, recorded: RecordedEvent[JobDeleted]) -> None:
        await self._attempts.delete_attempts_of_job(ctx, recorded.event.job_id)
        await delete_reports_of_job(ctx, recorded.event.job_id)


async def _is_unplanned(ctx: Context, build_id: int) -> bool:
    build = await ctx.read_model(BuildRow).get(f"build-{build_id}")
    return build is not None and build.status is BuildStatus.FAILED and not build.job_ids


async def _delete_finished(
    ctx: Context, project_id: int, keep: int, actor: Actor | None, still_read: Sequence[int] = ()
) -> None:
    """Delete finished builds: all that never ran, then all except the `keep` newest ones and those in `still_read`."""
    finished = {"project_id": project_id, "finished": True}
    while builds := await ctx.read_model(BuildRow).find({**finished, "ran": False}, [("id", -1)], limit=BATCH_SIZE):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))
    while builds := await _find_surplus(ctx, project_id, keep, still_read):
        await asyncio.gather(*(_delete(ctx, build.id, actor) for build in builds))


async def _find_surplus(ctx: Context, project_id: int, keep: int, still_read: Sequence[int]) -> list[BuildRow]:
    """Return one batch of finished builds, without the `keep` newest ones and those in `still_read`."""
    finished = {"project_id": project_id, "finished": True}
    found = await ctx.read_model(BuildRow).find(finished, [("id", -1)], skip=keep, limit=BATCH_SIZE)
    return [build for build in found if build.id not in still_read]


async def _delete(ctx: Context, build_id: int, actor: Actor | None) -> None:
    try:
        await ctx.send(DeleteBuild(build_id=build_id), step=str(build_id), actor=actor)
    except RequestRejected as rejected:
        if rejected.code != "BUILD_NOT_FOUND":  # the build was deleted at the same time
            raise
