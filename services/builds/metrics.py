"""Metrics of the builds service: queue depth and age, running jobs, results and durations."""

from contracts.builds import BuildFinished, BuildStatus, JobAssigned, JobFinished, JobLost, JobRow, JobStatus
from contracts.messages import Event, ReadModelRow
from libs.eventstore.decider import RecordedEvent
from libs.observability.metric_specs import CounterSpec, GaugeSpec, HistogramSpec, MetricSpec
from libs.projections.read_model import HAS_TEXT
from libs.service.declaration import Context
from services.builds.queries.queue_queries import AT_RUNNER

WAITING_JOBS = {"demand": HAS_TEXT}


async def count_waiting_jobs(ctx: Context) -> float:
    return await ctx.read_model(JobRow).count(WAITING_JOBS)


async def measure_queue_age(ctx: Context) -> float:
    """Return for how many seconds the oldest queued job has waited."""
    oldest = await ctx.read_model(JobRow).find_values(WAITING_JOBS, "queued_at", order=[("queued_at", 1)], limit=1)
    age: float = max(((ctx.clock.database_time() - at).total_seconds() for (at,) in oldest), default=0.0)
    return max(age, 0.0)  # the clock of the replica that queued it may be ahead


async def count_running_jobs(ctx: Context) -> float:
    return await ctx.read_model(JobRow).count({"status": AT_RUNNER})


def classify_build(recorded: RecordedEvent[Event]) -> str | None:
    """Return the result label of a finished build."""
    return recorded.event.status.lower() if isinstance(recorded.event, BuildFinished) else None


def classify_job(recorded: RecordedEvent[Event]) -> str | None:
    """Return the result label of a finished job."""
    return recorded.event.status.lower() if isinstance(recorded.event, JobFinished) else None


def classify_loss(recorded: RecordedEvent[Event]) -> str | None:
    """Return the label for what followed when a job lost its runner."""
    match recorded.event:
        case JobLost(retried=retried):
            return "retried" if retried else "given_up"
        case _:
            return None


def measure_build_seconds(recorded: RecordedEvent[Event], _row: ReadModelRow) -> float | None:
    """Return the time from the launch of a build that ran to its end."""
    match recorded.event:
        case BuildFinished(queued_at=queued_at, ran=True):
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


def measure_wait_seconds(recorded: RecordedEvent[Event], row: ReadModelRow) -> float | None:
    """Return how long an assigned job was queued."""
    match recorded.event, row:
        case JobAssigned(), JobRow(queued_at=queued_at) if queued_at:
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


BUILD_OUTCOMES = (BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED)
JOB_OUTCOMES = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)

METRICS: tuple[MetricSpec, ...] = (
    GaugeSpec("headrace_queue_depth", "Jobs waiting for a runner", count_waiting_jobs),
    GaugeSpec("headrace_queue_age_seconds", "Age of the oldest job waiting for a runner", measure_queue_age),
    GaugeSpec("headrace_jobs_running", "Jobs assigned to a runner", count_running_jobs),
    CounterSpec(
        "headrace_builds_finished",
        "Finished builds by result",
        classify_build,
        tuple(outcome.lower() for outcome in BUILD_OUTCOMES),
    ),
    CounterSpec(
        "headrace_jobs_finished",
        "Finished jobs by result",
        classify_job,
        tuple(outcome.lower() for outcome in JOB_OUTCOMES),
    ),
    CounterSpec(
        "headrace_jobs_lost", "Jobs whose runner was lost, by consequence", classify_loss, ("retried", "given_up")
    ),
    HistogramSpec("headrace_build_seconds", "Time from the launch of a build to its end", measure_build_seconds),
    HistogramSpec("headrace_job_wait_seconds", "Time a job waited for a runner", measure_wait_seconds),
)
