"""Queue queries: builds that have not started, with the reason why they wait."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.builds import (
    BuildJobStatus,
    BuildRow,
    BuildStatus,
    ConcurrencyGroupRow,
    JobRow,
    JobStatus,
    ListQueuedBuilds,
    QueuedBuild,
    parse_requirements,
)
from contracts.messages import Page, ReadModelRow
from libs.permissions.rule import without_projects
from libs.projections.paging import BY_ID, fetch_rows
from libs.service.declaration import Context
from services.builds.dispatch.runner_projection import QueueRunnerRow, busy_reason, find_eligible_runners
from services.builds.dispatch.scheduler import JobGroup, list_waiting_groups
from services.builds.queries.project_access import list_hidden_projects

NOT_STARTED = [BuildStatus.QUEUED, BuildStatus.PLANNED]
AT_RUNNER = {"$in": [JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING]}
PLANNING_REASON = "The repository and its spec file are being read."
MANUAL_REASON = "Waits until one of its manual jobs is started."
RUNNER_REASON = "Waits for a runner."  # default, for example while the job is being queued or was just assigned


class QueuedBuildRow(ReadModelRow):
    """The fields of BuildRow that the list of queued builds needs."""

    id: int
    executor_id: str
    project_id: int
    project_name: str
    queued_at: datetime
    priority: int
    status: BuildStatus
    needs_lane: bool
    job_ids: tuple[int, ...]
    jobs: tuple[BuildJobStatus, ...]  # the jobs of a pipeline build; empty for other builds


class WaitGroup(NamedTuple):
    """What determines why a job waits. Jobs with equal values wait for the same reason."""

    demand: str  # key of the job's requirements; empty if the job does not wait for a runner
    project_id: int
    priority: int


async def list_queued_builds(ctx: Context, query: ListQueuedBuilds) -> Page:
    """Return the builds that have not started, oldest first.

    The number of database queries does not depend on the length of the queue.
    """
    unstarted = {"finished": False, "status": {"$in": NOT_STARTED}}
    unstarted |= without_projects(await list_hidden_projects(ctx))
    page = await fetch_rows(ctx.read_model(BuildRow).select(QueuedBuildRow), query, BY_ID, unstarted)
    holders = await _group_holders(ctx, page.rows)
    planned = [job_id for build in page.rows if build.status == BuildStatus.PLANNED for job_id in build.job_ids]
    job_reasons = await job_wait_reasons(ctx, planned)
    return page.render(
        QueuedBuild(
            build_id=build.id,
            executor_id=build.executor_id,
            project_id=build.project_id,
            project_name=build.project_name,
            queued_at=build.queued_at,
            priority=build.priority,
            reason=_planning_reason(build, holders.get(build.project_id)) or _first_job_reason(build, job_reasons),
        )
        for build in page.rows
    )


def _planning_reason(build: QueuedBuildRow | BuildRow, holder: int | None) -> str:
    if build.status != BuildStatus.QUEUED:
        return ""
    if build.needs_lane and holder not in (None, build.id):
        return f"Waits until build {holder} is finished: the project does not allow concurrent builds."
    return PLANNING_REASON


def _first_job_reason(build: QueuedBuildRow | BuildRow, job_reasons: Mapping[int, str]) -> str:
    statuses = {job.status for job in build.jobs}
    waits_for_user = JobStatus.MANUAL in statuses and JobStatus.QUEUED not in statuses
    default = MANUAL_REASON if waits_for_user else RUNNER_REASON
    return next((job_reasons[job_id] for job_id in build.job_ids if job_id in job_reasons), default)


async def _group_holders(ctx: Context, builds: Sequence[QueuedBuildRow | BuildRow]) -> dict[int, int | None]:
    """Return project id -> id of the build that holds its concurrency group."""
    streams = {
        f"lane-{build.project_id}" for build in builds if build.needs_lane and build.status == BuildStatus.QUEUED
    }
    if not streams:
        return {}
    rows = await ctx.read_model(ConcurrencyGroupRow).find({"_id": {"$in": list(streams)}})
    return {row.project_id: row.holder for row in rows}


async def build_wait_reason(ctx: Context, build: QueuedBuildRow | BuildRow, job_reasons: Mapping[int, str]) -> str:
    """Return why a build has not started. `job_reasons`: the result of `job_wait_reasons` for its jobs."""
    holders = await _group_holders(ctx, [build])
    return _planning_reason(build, holders.get(build.project_id)) or _first_job_reason(build, job_reasons)


async def job_wait_reasons(ctx: Context, job_ids: Sequence[int]) -> dict[int, str]:
    """Return why jobs wait, by job id. Jobs that do not wait for a runner are left out."""
    if not job_ids:
        return {}
    streams = [f"job-{job_id}" for job_id in job_ids]
    jobs = await ctx.read_model(JobRow).find_values({"_id": {"$in": streams}}, "id", "demand", "project_id", "priority")
    groups = {job_id: WaitGroup(*fields) for job_id, *fields in jobs}
    runners = await ctx.read_model(QueueRunnerRow).find({})
    busy = {uuid for (uuid,) in await ctx.read_model(JobRow).find_values({"status": AT_RUNNER}, "runner_uuid")}
    waiting_groups = await list_waiting_groups(ctx)
    reasons = {
        group: _wait_reason(group, runners, busy, waiting_groups) for group in set(groups.values()) if group.demand
    }
    return {job_id: reasons[group] for job_id, group in groups.items() if group.demand}


def _wait_reason(
    group: WaitGroup, runners: Sequence[QueueRunnerRow], busy: set[str], waiting_groups: Sequence[JobGroup]
) -> str:
    eligible, ineligible_reason = find_eligible_runners(parse_requirements(group.demand), group.project_id, runners)
    higher = [other for other in waiting_groups if -other.negated_priority > group.priority]
    outranked = any(
        parse_requirements(other.demand).satisfied_by(runner, other.project_id)
        for other in higher
        for runner in eligible
    )
    return ineligible_reason or busy_reason(eligible, busy, outranked=outranked)
