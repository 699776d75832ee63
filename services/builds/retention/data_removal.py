"""A periodic task that applies the limits of each project: builds by age, logs and artifacts by age and count.

Builds are read in batches, oldest first. A run that deletes nothing needs a few queries per project.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from contracts.builds import BuildRow, DeleteBuild
from contracts.errors import RequestRejected
from libs.eventstore.decider import SYSTEM
from libs.service.declaration import Context
from services.builds.domain.internal_commands import RemoveArtifact
from services.builds.retention.limits import DataLimits, fetch_limits

BATCH_SIZE = 100
BATCH_PAUSE_SECONDS = 0.1
# collections with the last build of each project whose logs or artifacts were removed
LOG_PROGRESS, ARTIFACT_PROGRESS = "log_retention", "artifact_retention"
LOG_REMOVED_NOTICE = "The log was removed: logs are kept for {}.\n"

RemoveData = Callable[[Context, Sequence[BuildRow], DataLimits], Awaitable[None]]


async def enforce_limits(ctx: Context) -> None:
    """Delete the builds, the logs and the artifacts of all projects that exceed their limits."""
    now = ctx.clock.database_time()
    async for project_id in _list_projects(ctx):
        limits = await fetch_limits(ctx, project_id)
        if limits is None:
            continue
        if limits.build_days:
            await _delete_builds(ctx, project_id, now - timedelta(days=limits.build_days))
        await _remove_data(ctx, project_id, now, limits.logs, LOG_PROGRESS, _replace_logs)
        await _remove_data(ctx, project_id, now, limits.artifacts, ARTIFACT_PROGRESS, _remove_artifacts)


async def _list_projects(ctx: Context) -> AsyncIterator[int]:
    """Yield the projects that have finished builds, with one index seek for each."""
    project_id = 0
    while found := await ctx.read_model(BuildRow).find_values(
        {"project_id": {"$gt": project_id}, "finished": True}, "project_id", order=[("project_id", 1)], limit=1
    ):
        project_id = found[0][0]
        yield project_id


async def _find_oldest(ctx: Context, project_id: int, after: int = 0) -> Sequence[BuildRow]:
    condition = {"project_id": project_id, "finished": True, "id": {"$gt": after}}
    return await ctx.read_model(BuildRow).find(condition, [("id", 1)], limit=BATCH_SIZE)


async def _delete_builds(ctx: Context, project_id: int, before: datetime) -> None:
    while old := [build for build in await _find_oldest(ctx, project_id) if _is_older(build, before)]:
        await asyncio.gather(*(_delete(ctx, build.id) for build in old))
        await asyncio.sleep(BATCH_PAUSE_SECONDS)


async def _delete(ctx: Context, build_id: int) -> None:
    try:
        await ctx.send(DeleteBuild(build_id=build_id), step=str(build_id), actor=SYSTEM)
    except RequestRejected as rejected:
        if rejected.code not in {
            "BUILD_NOT_FOUND",
            "BUILD_STATUS",
        }:  # the build was deleted or resumed in between
            raise


async def _remove_data(
    ctx: Context, project_id: int, now: datetime, limits: DataLimits, progress_name: str, remove: RemoveData
) -> None:
    """Remove data of builds that exceed the limits, in the order of their ids.

    Unfinished builds are skipped, and checked again by each run. If a build is retried after its data was removed, the
    new data stays.
    """
    before = now - timedelta(days=limits.days) if limits.days else None
    surplus_until = await _find_newest_surplus(ctx, project_id, limits.builds)
    if before is None and not surplus_until:
        return

    def is_due(build: BuildRow) -> bool:
        return build.id <= surplus_until or (before is not None and _is_older(build, before))

    progress = ctx.collection(progress_name)
    document = await progress.find_one({"_id": project_id}) or {}
    after = int(document.get("until", 0))
    keys = [f"build-{build_id}" for build_id in document.get("unfinished", [])]
    passed: list[BuildRow] = await ctx.read_model(BuildRow).find({"_id": {"$in": keys}}) if keys else []
    await remove(ctx, [build for build in passed if build.finished and is_due(build)], limits)
    unfinished = [build.id for build in passed if not (build.finished and is_due(build))]
    while due := list(takewhile(is_due, await _find_oldest(ctx, project_id, after))):
        await remove(ctx, due, limits)
        between = {"project_id": project_id, "finished": False, "id": {"$gt": after, "$lt": due[-1].id}}
        unfinished += [build_id for (build_id,) in await ctx.read_model(BuildRow).find_values(between, "id")]
        after = due[-1].id
        state = {"until": after, "unfinished": unfinished}
        await progress.replace_one({"_id": project_id}, state, upsert=True)
        await asyncio.sleep(BATCH_PAUSE_SECONDS)
    if keys:
        await progress.update_one({"_id": project_id}, {"$set": {"unfinished": unfinished}})


async def _find_newest_surplus(ctx: Context, project_id: int, count: int) -> int:
    """Return the id of the newest finished build that is not among the `count` newest ones, or 0."""
    if not count:
        return 0
    finished = {"project_id": project_id, "finished": True}
    found = await ctx.read_model(BuildRow).find_values(finished, "id", order=[("id", -1)], skip=count, limit=1)
    return int(found[0][0]) if found else 0


async def _replace_logs(ctx: Context, builds: Sequence[BuildRow], limits: DataLimits) -> None:
    """Replace the logs of builds with a notice in each section. Idempotent."""
    attempts, chunks = ctx.collection("attempts"), ctx.collection("log_chunks")
    notice = LOG_REMOVED_NOTICE.format(limits).encode()
    found = {"build_id": {"$in": [build.id for build in builds]}, "finished": True}
    async for attempt in attempts.find(found, {"sections": 1}):
        sections = range(len(attempt["sections"]))
        await chunks.delete_many({"attempt": attempt["_id"]})
        place = {"attempt": attempt["_id"], "offset": 0, "place": 0, "lines": 1, "text": notice}
        await chunks.insert_many([{**place, "section": section} for section in sections])
        change = {"lines": [1 for _ in sections], "length": len(notice) * len(sections)}
        await attempts.update_one({"_id": attempt["_id"]}, {"$set": change})


async def _remove_artifacts(ctx: Context, builds: Sequence[BuildRow], _limits: DataLimits) -> None:
    """Remove the artifacts of builds. A worker deletes their bytes. Idempotent."""
    jobs_id = [job_id for build in builds for job_id in build.job_ids]
    stored = {"job_id": {"$in": jobs_id}, "recorded": True, "gone": False}
    async for upload in ctx.collection("artifacts").find(stored, {"job_id": 1}):
        remove = RemoveArtifact(job_id=upload["job_id"], artifact_id=upload["_id"], reason="expired")
        try:
            await ctx.send(remove, step=upload["_id"])
        except RequestRejected as rejected:
            if rejected.code != "JOB_NOT_FOUND":  # the job was deleted at the same time
                raise


def _is_older(build: BuildRow, before: datetime) -> bool:
    return build.completed_at is not None and build.completed_at < before
