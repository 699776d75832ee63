"""Metrics of the builds service: queue depth and age, running jobs, results and durations."""

from datetime import datetime

from opentelemetry.metrics import Meter

from contracts.builds import BuildFinished, BuildRow, BuildStatus, JobAssigned, JobFinished, JobLost, JobRow, JobStatus
from contracts.messages import ReadModelRow
from libs.eventstore.decider import AnyEvent
from libs.observability.metrics import (
    LONG_SECONDS_BUCKETS,
    create_outcome_counter,
    create_seconds_histogram,
)
from libs.observability.polled_gauges import PolledGauge
from libs.projections.read_model import HAS_TEXT
from libs.service.declaration import Context, EventRecorder
from services.builds.queries.queue_queries import AT_RUNNER, NOT_STARTED

WAITING_JOBS = {"demand": HAS_TEXT}
BUILD_OUTCOMES = [status.lower() for status in (BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED)]
JOB_OUTCOMES = [status.lower() for status in (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)]


async def count_waiting_jobs(ctx: Context) -> float:
    return await ctx.read_model(JobRow).count(WAITING_JOBS)


async def count_waiting_builds(ctx: Context) -> float:
    return await ctx.read_model(BuildRow).count({"finished": False, "status": {"$in": NOT_STARTED}})


async def measure_queue_age(ctx: Context) -> float:
    """Return for how many seconds the oldest queued job has waited; 0 if no job is queued."""
    oldest = await ctx.read_model(JobRow).find_values(WAITING_JOBS, "queued_at", order=[("queued_at", 1)], limit=1)
    age: float = max(((ctx.clock.database_time() - at).total_seconds() for (at,) in oldest), default=0.0)
    return max(age, 0.0)  # the clock of the replica that queued the job may be ahead


async def count_running_jobs(ctx: Context) -> float:
    return await ctx.read_model(JobRow).count({"status": AT_RUNNER})


GAUGES = (
    PolledGauge("headrace_builds_waiting", "Builds that have not started", count_waiting_builds),
    PolledGauge("headrace_queue_depth", "Jobs waiting for a runner", count_waiting_jobs),
    PolledGauge("headrace_queue_age_seconds", "Age of the oldest job waiting for a runner", measure_queue_age),
    PolledGauge("headrace_jobs_running", "Jobs assigned to a runner", count_running_jobs),
)


def create_recorder(meter: Meter) -> EventRecorder:
    builds = create_outcome_counter(meter, "headrace_builds_finished", "Finished builds by result", BUILD_OUTCOMES)
    jobs = create_outcome_counter(meter, "headrace_jobs_finished", "Finished jobs by result", JOB_OUTCOMES)
    losses = create_outcome_counter(
        meter, "headrace_jobs_lost", "Jobs whose runner was lost, by consequence", ("retried", "given_up")
    )
    build_seconds = create_seconds_histogram(
        meter, "headrace_build_seconds", "Time from the launch of a build to its end", LONG_SECONDS_BUCKETS
    )
    wait_seconds = create_seconds_histogram(
        meter, "headrace_job_wait_seconds", "Time a job waited for a runner", LONG_SECONDS_BUCKETS
    )

    def record(recorded: AnyEvent, row: ReadModelRow) -> None:
        match recorded.event, row:
            case BuildFinished(status=status, queued_at=queued_at, ran=ran), _:
                builds.add(1, {"outcome": status.lower()})
                if ran:
                    build_seconds.record(_seconds_between(queued_at, recorded.at))
            case JobFinished(status=status), _:
                jobs.add(1, {"outcome": status.lower()})
            case JobLost(retried=retried), _:
                losses.add(1, {"outcome": "retried" if retried else "given_up"})
            case JobAssigned(), JobRow(queued_at=queued_at) if queued_at:
                wait_seconds.record(_seconds_between(queued_at, recorded.at))

    return record


def _seconds_between(start: datetime, end: datetime) -> float:
    return max((end - start).total_seconds(), 0.0)  # the clocks of two replicas may differ
