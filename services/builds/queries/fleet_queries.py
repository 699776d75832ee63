"""The query for the fleet: the runners that a user may see, with their current jobs."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from contracts.builds import (
    MAX_COUNTED_ENDS,
    MAX_FLEET_SIZE,
    UNFINISHED_TIME,
    Fleet,
    FleetRunner,
    GetFleet,
    JobRow,
    JobStatus,
    LaunchedProject,
    RunnerJob,
)
from contracts.messages import ReadModelRow
from libs.permissions.projections import list_companies_of
from libs.permissions.rule import is_unrestricted
from libs.projections.read_model import HAS_TEXT
from libs.service.declaration import Context
from services.builds.dispatch.runner_projection import QueueRunnerRow
from services.builds.queries.project_access import list_hidden_projects
from services.builds.queries.queue_queries import AT_RUNNER

MAX_COUNTED_JOBS = 10_000


class AssignedJobRow(ReadModelRow):
    id: int
    build_id: int
    project_id: int
    project: LaunchedProject | None
    name: str
    status: JobStatus
    runner_uuid: str | None
    assigned_at: datetime | None


async def get_fleet(ctx: Context, _query: GetFleet) -> Fleet:
    """Return the runners that the user may see, by name. At most MAX_FLEET_SIZE runners of the server are read."""
    actor = ctx.metadata.actor
    hidden = set(await list_hidden_projects(ctx))
    companies = None if is_unrestricted(actor) else set(await list_companies_of(ctx, actor.id))

    def is_visible(runner: QueueRunnerRow) -> bool:
        if runner.owner_type == "COMPANY":
            return companies is None or runner.owner_id in companies
        return runner.owner_type == "GLOBAL" or runner.owner_id not in hidden

    runners = await ctx.read_model(QueueRunnerRow).find({}, [("name", 1)], limit=MAX_FLEET_SIZE)
    jobs = defaultdict[str | None, list[RunnerJob]](list)
    for job in await ctx.read_model(JobRow).select(AssignedJobRow).find({"status": AT_RUNNER}, [("id", 1)]):
        jobs[job.runner_uuid].append(_to_job(job, hidden))
    ends = await _count_recent_ends(ctx)
    waiting = await ctx.read_model(JobRow).count({"demand": HAS_TEXT}, limit=MAX_COUNTED_JOBS)
    return Fleet(
        runners=tuple(
            FleetRunner(
                **runner.model_dump(exclude={"deleted"}),
                jobs=tuple(jobs[runner.uuid]),
                finished_24h=sum(ends[runner.uuid].values()),
                failed_24h=ends[runner.uuid][JobStatus.FAILED],
            )
            for runner in runners
            if is_visible(runner)
        ),
        waiting_jobs=waiting,
    )


def _to_job(job: AssignedJobRow, hidden: Collection[int]) -> RunnerJob:
    if job.project_id in hidden:
        return RunnerJob(status=job.status, since=job.assigned_at)
    return RunnerJob(
        job_id=job.id,
        build_id=job.build_id,
        project_id=job.project_id,
        project_name=job.project.name if job.project else "",
        name=job.name,
        status=job.status,
        since=job.assigned_at,
    )


async def _count_recent_ends(ctx: Context) -> Mapping[str | None, Counter[str]]:
    """Return how many jobs of each runner ended in the last 24 hours, by status.

    Only the last MAX_COUNTED_ENDS jobs are counted.
    """
    day = {"$gte": ctx.clock.database_time() - timedelta(hours=24), "$lt": UNFINISHED_TIME}
    ended = await ctx.read_model(JobRow).find_values(
        {"listed_at": day}, "runner_uuid", "status", order=[("listed_at", -1), ("id", -1)], limit=MAX_COUNTED_ENDS
    )
    counts = defaultdict[str | None, Counter[str]](Counter)
    for runner_uuid, status in ended:
        counts[runner_uuid][status] += 1
    return counts
