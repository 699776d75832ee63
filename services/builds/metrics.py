"""What the service measures: the queue, who works, how builds and jobs end and how long they take."""

from typing import Any

from contracts.builds import BuildFinished, BuildStatus, JobAssigned, JobFinished, JobLost, JobRow, JobStatus
from libs.eventstore.decider import RecordedEvent
from libs.observability.metric_specs import CounterSpec, GaugeSpec, HistogramSpec, MetricSpec
from libs.projections.read_model import HAS_TEXT
from libs.service.declaration import Context
from services.builds.queries.queue_queries import AT_RUNNER

WAITING_JOBS = {"demand": HAS_TEXT}


async def count_waiting_jobs(ctx: Context) -> float:
    return await ctx.read_model("job").count(WAITING_JOBS)


async def measure_queue_age(ctx: Context) -> float:
    oldest = await ctx.read_model("job").find_values(WAITING_JOBS, "queued_at", order=[("queued_at", 1)], limit=1)
    age: float = max(((ctx.clock.database_time() - at).total_seconds() for (at,) in oldest), default=0.0)
    return max(age, 0.0)  # it was queued by the clock of another replica


async def count_running_jobs(ctx: Context) -> float:
    return await ctx.read_model("job").count({"status": AT_RUNNER})


def classify_build(recorded: RecordedEvent[Any]) -> str | None:
    return recorded.event.status.lower() if isinstance(recorded.event, BuildFinished) else None


def classify_job(recorded: RecordedEvent[Any]) -> str | None:
    return recorded.event.status.lower() if isinstance(recorded.event, JobFinished) else None


def classify_loss(recorded: RecordedEvent[Any]) -> str | None:
    match recorded.event:
        case JobLost(retried=retried):
            return "retried" if retried else "given_up"
        case _:
            return None


def measure_build_seconds(recorded: RecordedEvent[Any], _row: Any) -> float | None:
    match recorded.event:
        case BuildFinished(queued_at=queued_at, ran=True):
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


def measure_wait_seconds(recorded: RecordedEvent[Any], row: Any) -> float | None:
    match recorded.event, row:
        case JobAssigned(), JobRow(queued_at=queued_at) if queued_at:
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


BUILD_OUTCOMES = (BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED)
JOB_OUTCOMES = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)

METRICS: tuple[MetricSpec, ...] = (
    GaugeSpec("headrace_queue_depth", "Jobs that wait for a runner", count_waiting_jobs),
    GaugeSpec("headrace_queue_age_seconds", "Age of the oldest job that waits for a runner", measure_queue_age),
    GaugeSpec("headrace_jobs_running", "Jobs that a runner has", count_running_jobs),
    CounterSpec(
        "headrace_builds_finished",
        "Builds by how they ended",
        classify_build,
        tuple(one.lower() for one in BUILD_OUTCOMES),
    ),
    CounterSpec(
        "headrace_jobs_finished", "Jobs by how they ended", classify_job, tuple(one.lower() for one in JOB_OUTCOMES)
    ),
    CounterSpec(
        "headrace_jobs_lost", "Jobs whose runner was lost, by what followed", classify_loss, ("retried", "given_up")
    ),
    HistogramSpec("headrace_build_seconds", "Time from a launch to the end of its build", measure_build_seconds),
    HistogramSpec("headrace_job_wait_seconds", "Time for which a job waited for a runner", measure_wait_seconds),
)
