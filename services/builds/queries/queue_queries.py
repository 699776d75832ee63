"""The queue as people see it: what has not started yet, and why, in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from contracts.builds import (
    BuildStatus,
    ConcurrencyGroupRow,
    JobStatus,
    ListQueuedBuilds,
    QueuedBuild,
    parse_requirements,
)
from libs.service.declaration import Context
from services.builds.dispatch.runner_projection import QueueRunnerRow, busy_reason, find_eligible_runners
from services.builds.dispatch.scheduler import JobGroup, list_waiting_groups

MAX_LISTED_BUILDS = 10_000  # builds in one list, the oldest; a message holds no more
NOT_STARTED = [BuildStatus.QUEUED, BuildStatus.PLANNED]
AT_RUNNER = {"$in": [JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING]}
PLANNING_REASON = "The repository and its spec file are being read."
MANUAL_REASON = "Waits for somebody to start one of its jobs."
RUNNER_REASON = "Waits for a runner."  # its job is just being queued, or has just been taken


class QueuedBuildFields(NamedTuple):
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


class WaitGroup(NamedTuple):
    """Jobs of the same kind wait for the same reason."""

    demand: str  # empty: it does not wait for a runner, or no longer
    project_id: int
    priority: int


async def list_queued_builds(ctx: Context, _query: ListQueuedBuilds) -> list[QueuedBuild]:
    """A handful of questions to the database, however long the queue."""
    unstarted = {"finished": False, "status": {"$in": NOT_STARTED}}
    found = await ctx.read_model("build").find_values(
        unstarted, *QueuedBuildFields._fields, order=[("id", 1)], limit=MAX_LISTED_BUILDS
    )
    builds = [QueuedBuildFields(*one) for one in found]
    holders = await _group_holders(ctx, builds)
    jobs = await _job_wait_reasons(ctx, builds)
    return [
        QueuedBuild(
            build_id=build.id,
            executor_id=build.executor_id,
            project_id=build.project_id,
            project_name=build.project_name,
            queued_at=build.queued_at,
            priority=build.priority,
            reason=_planning_reason(build, holders.get(build.project_id)) or _first_job_reason(build, jobs),
        )
        for build in builds
    ]


def _planning_reason(build: QueuedBuildFields, holder: int | None) -> str:
    if build.status != BuildStatus.QUEUED:
        return ""
    if build.needs_lane and holder not in (None, build.id):
        return f"Waits until build {holder} is over: the project's builds run one after the other."
    return PLANNING_REASON


def _first_job_reason(build: QueuedBuildFields, jobs: Mapping[int, str]) -> str:
    statuses = {job["status"] for job in build.jobs}
    idle = JobStatus.MANUAL in statuses and JobStatus.QUEUED not in statuses
    return next((jobs[one] for one in build.job_ids if one in jobs), MANUAL_REASON if idle else RUNNER_REASON)


async def _group_holders(ctx: Context, builds: Sequence[QueuedBuildFields]) -> dict[int, int | None]:
    """By project: the build whose turn it is."""
    lanes = {f"lane-{one.project_id}" for one in builds if one.needs_lane and one.status == BuildStatus.QUEUED}
    if not lanes:
        return {}
    found: list[ConcurrencyGroupRow] = await ctx.read_model("lane").find({"_id": {"$in": list(lanes)}})
    return {one.project_id: one.holder for one in found}


async def _job_wait_reasons(ctx: Context, builds: Sequence[QueuedBuildFields]) -> dict[int, str]:
    """By job: what it waits for."""
    keys = [f"job-{one}" for build in builds if build.status == BuildStatus.PLANNED for one in build.job_ids]
    if not keys:
        return {}
    jobs = await ctx.read_model("job").find_values({"_id": {"$in": keys}}, "id", "demand", "project_id", "priority")
    kinds = {id_: WaitGroup(*kind) for id_, *kind in jobs}
    fleet: list[QueueRunnerRow] = await ctx.read_model("fleet").find({})
    busy = {uuid for (uuid,) in await ctx.read_model("job").find_values({"status": AT_RUNNER}, "runner_uuid")}
    waiting = await list_waiting_groups(ctx)
    words = {kind: _wait_reason(kind, fleet, busy, waiting) for kind in set(kinds.values()) if kind.demand}
    return {id_: words[kind] for id_, kind in kinds.items() if kind.demand}


def _wait_reason(
    group: WaitGroup, fleet: Sequence[QueueRunnerRow], busy: set[str], waiting_groups: Sequence[JobGroup]
) -> str:
    fitting, why_none = find_eligible_runners(parse_requirements(group.demand), group.project_id, fleet)
    higher = [one for one in waiting_groups if -one.negated_priority > group.priority]
    outranked = any(
        parse_requirements(one.demand).satisfied_by(runner, one.project_id) for one in higher for runner in fitting
    )
    return why_none or busy_reason(fitting, busy, outranked=outranked)
