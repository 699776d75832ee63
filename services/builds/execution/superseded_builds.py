"""Cancellation of builds that a newer push of their branch supersedes, in projects that enable it."""

from collections.abc import Awaitable, Callable

from contracts.builds import BuildQueued, BuildRow, BuildStatus, LaunchedProject
from contracts.projects import SupersededBuilds
from libs.documents import Document
from libs.eventstore.decider import SYSTEM
from libs.service.declaration import Context
from services.builds.domain.internal_commands import SupersedeBuild
from services.builds.execution.attempt_durations import duration_ms_of_jobs
from services.builds.execution.recent_ends import record_end

FindHead = Callable[[Context, LaunchedProject, str], Awaitable[str | None]]
"""Returns the present commit of a ref of the project's repository, or None if it is unknown."""


async def cancel_superseded(ctx: Context, queued: BuildQueued, find_head: FindHead) -> None:
    """Cancel the builds of earlier pushes of the ref, unless the ref has another commit by now.

    Webhooks may arrive in another order than the pushes, and this reaction may be late. If the ref has the build's
    commit, no build that was launched before it can be of a newer push. Otherwise, the build of the newer push cancels
    the earlier ones.
    """
    if queued.supersedes is SupersededBuilds.KEEP or queued.ref is None:
        return
    older: Document = {
        "project_id": queued.project_id,
        "finished": False,
        "id": {"$lt": queued.build_id},
        "pinned_ref": queued.ref,
        "delivery_id": {"$ne": None},
    }
    if queued.supersedes is SupersededBuilds.WAITING:
        older["status"] = {"$in": [BuildStatus.QUEUED, BuildStatus.PLANNED]}
    builds = ctx.read_model(BuildRow)
    if await builds.find_one(older) is None or await find_head(ctx, queued.project, queued.ref) != queued.sha:
        return
    async for build in builds.walk(older):
        await record_end(ctx, build.id)
        supersede = SupersedeBuild(
            build_id=build.id,
            ref=queued.ref,
            newer_build_id=queued.build_id,
            newer_local_id=queued.local_id,
            running=queued.supersedes is SupersededBuilds.ALL,
            duration_ms=await duration_ms_of_jobs(ctx, build.job_ids),
        )
        await ctx.send(supersede, step=str(build.id), actor=SYSTEM)
