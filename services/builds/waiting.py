"""The queue as people see it: what has not started yet, and why, in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from contracts.builds import BuildStatus, JobStatus, LaneRow, ListQueued, QueuedBuild, demand_from
from libs.service import Context
from services.builds.fleet import FleetRow, able, engaged
from services.builds.queue import Lot, lots

LONGEST = 10_000  # builds in one list, the oldest; a message holds no more
NOT_STARTED = [BuildStatus.QUEUED, BuildStatus.PLANNED]
AT_WORK = {"$in": [JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING]}
PLANNING = "The repository and its spec file are being read."
TO_BE_PLAYED = "Waits for somebody to start one of its jobs."
COMING = "Waits for a runner."  # its job is just being queued, or has just been taken


class Waiting(NamedTuple):
    """What is told of a build. The names are those of its row."""

    id: int
    executor_id: str
    project_id: int
    project_name: str
    queued_at: Any
    priority: int
    status: BuildStatus
    needs_lane: bool
    job_ids: Sequence[int]
    jobs: Sequence[Mapping[str, Any]]  # of a pipeline


class Kind(NamedTuple):
    """Jobs of the same kind wait for the same reason."""

    demand: str  # empty: it does not wait for a runner, or no longer
    project_id: int
    priority: int


async def list_queued(ctx: Context, _query: ListQueued) -> list[QueuedBuild]:
    """A handful of questions to the database, however long the queue."""
    unstarted = {"finished": False, "status": {"$in": NOT_STARTED}}
    found = await ctx.rows("build").values(unstarted, *Waiting._fields, order=[("id", 1)], limit=LONGEST)
    builds = [Waiting(*one) for one in found]
    holders = await _holders(ctx, builds)
    jobs = await _reasons(ctx, builds)
    return [
        QueuedBuild(
            build_id=build.id,
            executor_id=build.executor_id,
            project_id=build.project_id,
            project_name=build.project_name,
            queued_at=build.queued_at,
            priority=build.priority,
            reason=_before_its_jobs(build, holders.get(build.project_id)) or _first(build, jobs),
        )
        for build in builds
    ]


def _before_its_jobs(build: Waiting, holder: int | None) -> str:
    if build.status != BuildStatus.QUEUED:
        return ""
    if build.needs_lane and holder not in (None, build.id):
        return f"Waits until build {holder} is over: the project's builds run one after the other."
    return PLANNING


def _first(build: Waiting, jobs: Mapping[int, str]) -> str:
    statuses = {job["status"] for job in build.jobs}
    idle = JobStatus.MANUAL in statuses and JobStatus.QUEUED not in statuses
    return next((jobs[one] for one in build.job_ids if one in jobs), TO_BE_PLAYED if idle else COMING)


async def _holders(ctx: Context, builds: Sequence[Waiting]) -> dict[int, int | None]:
    """By project: the build whose turn it is."""
    lanes = {f"lane-{one.project_id}" for one in builds if one.needs_lane and one.status == BuildStatus.QUEUED}
    if not lanes:
        return {}
    found: list[LaneRow] = await ctx.rows("lane").find({"_id": {"$in": list(lanes)}})
    return {one.project_id: one.holder for one in found}


async def _reasons(ctx: Context, builds: Sequence[Waiting]) -> dict[int, str]:
    """By job: what it waits for."""
    keys = [f"job-{one}" for build in builds if build.status == BuildStatus.PLANNED for one in build.job_ids]
    if not keys:
        return {}
    jobs = await ctx.rows("job").values({"_id": {"$in": keys}}, "id", "demand", "project_id", "priority")
    kinds = {id_: Kind(*kind) for id_, *kind in jobs}
    fleet: list[FleetRow] = await ctx.rows("fleet").find({})
    busy = {uuid for (uuid,) in await ctx.rows("job").values({"status": AT_WORK}, "runner_uuid")}
    waiting = await lots(ctx)
    words = {kind: _why(kind, fleet, busy, waiting) for kind in set(kinds.values()) if kind.demand}
    return {id_: words[kind] for id_, kind in kinds.items() if kind.demand}


def _why(kind: Kind, fleet: Sequence[FleetRow], busy: set[str], waiting: Sequence[Lot]) -> str:
    fitting, why_none = able(demand_from(kind.demand), kind.project_id, fleet)
    higher = [one for one in waiting if -one.urgency > kind.priority]
    outranked = any(demand_from(one.demand).met_by(runner, one.project_id) for one in higher for runner in fitting)
    return why_none or engaged(fitting, busy, outranked=outranked)
