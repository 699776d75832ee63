"""Fair scheduling: higher priorities first, then projects in turn, then the oldest job of each project.

Waiting jobs are grouped by project and requirements. A short queue is read with one index scan. A long queue costs one
index seek per distinct set of requirements and one per matching group, however many jobs wait.
"""

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from contracts.builds import JobRow, RunnerCapabilities, parse_requirements
from libs.projections.read_model import HAS_TEXT
from libs.service.declaration import Context

JOB_ORDER = [("priority", -1), ("queued_at", 1), ("id", 1)]
INDEX_ORDER = [("demand", 1), ("project_id", 1), *JOB_ORDER]
GROUP_FIELDS = ("demand", "project_id", "priority", "queued_at")
SMALL_QUEUE_SIZE = 8  # reading this many jobs is cheaper than a second round trip
NEVER = datetime.fromtimestamp(0, UTC)
CONCURRENT_OFFERS = timedelta(seconds=5)  # jobs queued within this time were offered to different runners


class JobGroup(NamedTuple):
    """Waiting jobs of one project with the same requirements. Groups compare in scheduling order."""

    negated_priority: int  # priority of the group's first job; negated, because the smallest value comes first
    served_at: datetime  # when a job of the group's project was last selected in competition with other projects
    queued_at: datetime  # when the group's first job was queued
    project_id: int
    demand: str


async def list_waiting_groups(ctx: Context, runner: RunnerCapabilities | None = None) -> list[JobGroup]:
    """Return the groups of waiting jobs: all groups, or those that a runner may take. Their `served_at` is NEVER."""
    jobs = ctx.read_model(JobRow)
    only = {"project_id": runner.owner_id} if runner and runner.owner_type == "PROJECT" else {}
    project_id = runner.owner_id or 0 if runner else 0  # matters for project runners only

    def fits(demand: str) -> bool:
        return runner is None or parse_requirements(demand).satisfied_by(runner, project_id)

    waiting = await jobs.find_values(
        {"demand": HAS_TEXT, **only}, *GROUP_FIELDS, order=INDEX_ORDER, limit=SMALL_QUEUE_SIZE
    )
    if len(waiting) < SMALL_QUEUE_SIZE:
        groups: dict[tuple[str, int], JobGroup] = {}
        for demand, project, priority, queued_at in waiting:  # in order: setdefault keeps each first job
            groups.setdefault((demand, project), JobGroup(-priority, NEVER, queued_at, project, demand))
        return [group for group in groups.values() if fits(group.demand)]
    fitting = [demand for (demand,) in await jobs.first_per_group("demand", {"demand": HAS_TEXT}) if fits(demand)]
    first_jobs = await asyncio.gather(
        *(
            jobs.first_per_group("project_id", {"demand": demand, **only}, "priority", "queued_at", order=JOB_ORDER)
            for demand in fitting
        )
    )
    return [
        JobGroup(-priority, NEVER, queued_at, project, demand)
        for demand, firsts in zip(fitting, first_jobs, strict=True)
        for project, priority, queued_at in firsts
    ]


async def _find_job(ctx: Context, job_id: int | None) -> JobRow | None:
    return await ctx.read_model(JobRow).get(f"job-{job_id}") if job_id is not None else None


def _is_next(job: JobRow, groups: Sequence[JobGroup]) -> bool:
    """Return whether a job may be assigned without comparing it with the other waiting jobs.

    It must belong to one of the groups, and no job of another project, of a higher priority, or queued clearly earlier
    may wait. Jobs queued at about the same time have been offered to other runners.
    """
    return (
        any((group.demand, group.project_id) == (job.demand, job.project_id) for group in groups)
        and job.queued_at is not None
        and all(
            group.project_id == job.project_id
            and -group.negated_priority <= job.priority
            and group.queued_at >= job.queued_at - CONCURRENT_OFFERS
            for group in groups
        )
    )


class FairScheduler:
    """Selects the next job for a runner.

    The service time of a project is when one of its jobs was last selected while jobs of other projects waited. Service
    times that other processes recorded come from the database, with some delay.
    """

    def __init__(self) -> None:
        self._reserved: set[int] = set()  # ids of jobs that this process is assigning
        # project id -> when this process last selected a job of the project in competition with other projects
        self._served_at: dict[int, datetime] = {}
        self._last_served_at = NEVER
        self._selection_lock = asyncio.Lock()  # concurrent selections would all pick the same job

    async def next_job(
        self,
        ctx: Context,
        runner: RunnerCapabilities,
        excluded: AbstractSet[int],
        offered_id: int | None = None,
    ) -> JobRow | None:
        """Return the next job for the runner, or None, and reserve it in this process. Call `release` afterwards.

        `offered_id`: the job of which the runner was notified. It is returned unless another job has precedence.
        """
        async with self._selection_lock:
            groups, offered = await asyncio.gather(list_waiting_groups(ctx, runner), _find_job(ctx, offered_id))
            if offered and offered.id not in {*self._reserved, *excluded} and _is_next(offered, groups):
                self._reserved.add(offered.id)
                return offered
            projects_compete = len({group.project_id for group in groups}) > 1
            if projects_compete:
                groups = await self._with_service_times(ctx, groups)
            heapify(groups)
            while groups:
                group = heappop(groups)
                job = await self._first_free_job(ctx, group, excluded)
                if job is None or job.queued_at is None:
                    continue
                group = group._replace(negated_priority=-job.priority, queued_at=job.queued_at)
                # if the group's first jobs are reserved or excluded, another group may come before it
                if groups and groups[0] < group:
                    heappush(groups, group)
                    continue
                self._reserved.add(job.id)
                if projects_compete:
                    # replicas compare service times, so they use the database's clock and are kept distinct
                    earliest = self._last_served_at + timedelta(milliseconds=1)
                    self._last_served_at = max(ctx.clock.database_time(), earliest)
                    self._served_at[job.project_id] = self._last_served_at
                return job
        return None

    async def record_service_time(self, ctx: Context, job: JobRow) -> None:
        """Store when this process last served the job's project, if the project has competed with other projects."""
        if at := self._served_at.get(job.project_id):
            await ctx.collection("turns").update_one({"_id": job.project_id}, {"$max": {"at": at}}, upsert=True)

    def release(self, job: JobRow) -> None:
        self._reserved.discard(job.id)

    async def _first_free_job(self, ctx: Context, group: JobGroup, excluded: AbstractSet[int]) -> JobRow | None:
        free = {"demand": group.demand, "project_id": group.project_id, "id": {"$nin": [*self._reserved, *excluded]}}
        jobs = await ctx.read_model(JobRow).find(free, JOB_ORDER, limit=1)
        return jobs[0] if jobs else None

    async def _with_service_times(self, ctx: Context, groups: Sequence[JobGroup]) -> list[JobGroup]:
        stored = ctx.collection("turns").find({"_id": {"$in": list({group.project_id for group in groups})}})
        served_at: dict[int, datetime] = {document["_id"]: document["at"] async for document in stored}

        def last_served(project_id: int) -> datetime:
            return max(served_at.get(project_id, NEVER), self._served_at.get(project_id, NEVER))

        return [group._replace(served_at=last_served(group.project_id)) for group in groups]
