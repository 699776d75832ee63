"""The order in which runners get jobs: higher priorities first, then projects take turns, oldest first within each.

The jobs of one demand in one project are a lot. A look reads what an index holds of all jobs, if few wait. Else it
costs a leap through that index for each demand that waits, and one for each lot that fits: how many jobs wait, and how
many fit nobody, makes no difference.
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
SMALL_QUEUE_SIZE = 8  # jobs; to read so many costs less than another round
NEVER = datetime.fromtimestamp(0, UTC)


class JobGroup(NamedTuple):
    """In the order in which lots come to their turn."""

    negated_priority: int  # priority of its first job, negative: the smallest comes first
    served_at: datetime  # when its project last got a runner
    queued_at: datetime  # of its first job
    project_id: int
    demand: str


async def list_waiting_groups(ctx: Context, runner: RunnerCapabilities | None = None) -> list[JobGroup]:
    """All that wait, or those that the runner may take; as if no project had ever been served."""
    jobs = ctx.read_model("job")
    only = {"project_id": runner.owner_id} if runner and runner.owner_type == "PROJECT" else {}
    project_id = runner.owner_id or 0 if runner else 0  # of others it plays no part

    def fits(demand: str) -> bool:
        return runner is None or parse_requirements(demand).satisfied_by(runner, project_id)

    few = await jobs.find_values({"demand": HAS_TEXT, **only}, *GROUP_FIELDS, order=INDEX_ORDER, limit=SMALL_QUEUE_SIZE)
    if len(few) < SMALL_QUEUE_SIZE:
        found: dict[tuple[str, int], JobGroup] = {}
        for demand, project, priority, queued_at in few:  # the first of a lot comes first
            found.setdefault((demand, project), JobGroup(-priority, NEVER, queued_at, project, demand))
        return [lot for lot in found.values() if fits(lot.demand)]
    fitting = [demand for (demand,) in await jobs.first_per_group("demand", {"demand": HAS_TEXT}) if fits(demand)]
    heads = await asyncio.gather(
        *(
            jobs.first_per_group("project_id", {"demand": one, **only}, "priority", "queued_at", order=JOB_ORDER)
            for one in fitting
        )
    )
    return [
        JobGroup(-priority, NEVER, queued_at, project, demand)
        for demand, firsts in zip(fitting, heads, strict=True)
        for project, priority, queued_at in firsts
    ]


class FairScheduler:
    """Whose turn it is. Turns are kept in the database, roughly: each process knows its own at once."""

    def __init__(self) -> None:
        self._reserved: set[int] = set()  # jobs that this process is giving to somebody
        self._served_at: dict[int, datetime] = {}  # project -> when this process last served it
        self._last_served_at = NEVER
        self._selection_lock = asyncio.Lock()  # one after the other: many that look at once would all want the same job

    async def next_job(self, ctx: Context, runner: RunnerCapabilities, excluded: AbstractSet[int]) -> JobRow | None:
        """The job whose turn it is, but none of `passed`. To be handed back with `done`."""
        async with self._selection_lock:
            found = await list_waiting_groups(ctx, runner)
            several = len({lot.project_id for lot in found}) > 1
            waiting = await self._with_service_times(ctx, found) if several else found
            heapify(waiting)
            while waiting:
                lot = heappop(waiting)
                job = await self._first_free_job(ctx, lot, excluded)
                if job is None or job.queued_at is None:
                    continue
                now = lot._replace(negated_priority=-job.priority, queued_at=job.queued_at)
                if waiting and waiting[0] < now:  # its first jobs are going to others, and this one is less urgent
                    heappush(waiting, now)
                    continue
                self._reserved.add(job.id)
                if several:
                    now_at = ctx.clock.database_time()  # other replicas compare turns with theirs
                    self._last_served_at = max(
                        now_at, self._last_served_at + timedelta(milliseconds=1)
                    )  # no two turns at one moment
                    self._served_at[job.project_id] = self._last_served_at
                return job
        return None

    async def record_service_time(self, ctx: Context, job: JobRow) -> None:
        """For the other processes, and for those to come; where projects do not compete nothing is written."""
        if at := self._served_at.get(job.project_id):
            await ctx.collection("turns").update_one({"_id": job.project_id}, {"$max": {"at": at}}, upsert=True)

    def release(self, job: JobRow) -> None:
        """Given, or not: the row tells."""
        self._reserved.discard(job.id)

    async def _first_free_job(self, ctx: Context, group: JobGroup, excluded: AbstractSet[int]) -> JobRow | None:
        """The lot's first job that is not being given to somebody else."""
        free = {"demand": group.demand, "project_id": group.project_id, "id": {"$nin": [*self._reserved, *excluded]}}
        jobs: list[JobRow] = await ctx.read_model("job").find(free, JOB_ORDER, limit=1)
        return jobs[0] if jobs else None

    async def _with_service_times(self, ctx: Context, groups: Sequence[JobGroup]) -> list[JobGroup]:
        """With the turns of their projects."""
        turns = ctx.collection("turns").find({"_id": {"$in": list({lot.project_id for lot in groups})}})
        served: dict[int, datetime] = {one["_id"]: one["at"] async for one in turns}

        def last(project_id: int) -> datetime:
            return max(served.get(project_id, NEVER), self._served_at.get(project_id, NEVER))

        return [lot._replace(served_at=last(lot.project_id)) for lot in groups]
