"""What the service measures: the queue, who works, how builds and jobs end and how long they take."""

from typing import Any

from contracts.builds import BuildFinished, BuildStatus, JobAssigned, JobFinished, JobLost, JobRow, JobStatus
from libs.deciding import Recorded
from libs.measuring import Count, Duration, Measure, Reading
from libs.rows import NAMED
from libs.service import Context
from services.builds.waiting import AT_WORK

WAITING = {"demand": NAMED}


async def queue_depth(ctx: Context) -> float:
    return await ctx.rows("job").count(WAITING)


async def queue_age(ctx: Context) -> float:
    oldest = await ctx.rows("job").values(WAITING, "queued_at", order=[("queued_at", 1)], limit=1)
    age: float = max(((ctx.clock.database_time() - at).total_seconds() for (at,) in oldest), default=0.0)
    return max(age, 0.0)  # it was queued by the clock of another replica


async def jobs_running(ctx: Context) -> float:
    return await ctx.rows("job").count({"status": AT_WORK})


def build_outcome(recorded: Recorded[Any]) -> str | None:
    return recorded.event.status.lower() if isinstance(recorded.event, BuildFinished) else None


def job_outcome(recorded: Recorded[Any]) -> str | None:
    return recorded.event.status.lower() if isinstance(recorded.event, JobFinished) else None


def job_lost(recorded: Recorded[Any]) -> str | None:
    match recorded.event:
        case JobLost(retried=retried):
            return "retried" if retried else "given_up"
        case _:
            return None


def build_seconds(recorded: Recorded[Any], _row: Any) -> float | None:
    match recorded.event:
        case BuildFinished(queued_at=queued_at, ran=True):
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


def wait_seconds(recorded: Recorded[Any], row: Any) -> float | None:
    match recorded.event, row:
        case JobAssigned(), JobRow(queued_at=queued_at) if queued_at:
            return (recorded.at - queued_at).total_seconds()
        case _:
            return None


BUILD_OUTCOMES = (BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED)
JOB_OUTCOMES = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED)

MEASURES: tuple[Measure, ...] = (
    Reading("headrace_queue_depth", "Jobs that wait for a runner", queue_depth),
    Reading("headrace_queue_age_seconds", "Age of the oldest job that waits for a runner", queue_age),
    Reading("headrace_jobs_running", "Jobs that a runner has", jobs_running),
    Count(
        "headrace_builds_finished",
        "Builds by how they ended",
        build_outcome,
        tuple(one.lower() for one in BUILD_OUTCOMES),
    ),
    Count("headrace_jobs_finished", "Jobs by how they ended", job_outcome, tuple(one.lower() for one in JOB_OUTCOMES)),
    Count("headrace_jobs_lost", "Jobs whose runner was lost, by what followed", job_lost, ("retried", "given_up")),
    Duration("headrace_build_seconds", "Time from a launch to the end of its build", build_seconds),
    Duration("headrace_job_wait_seconds", "Time for which a job waited for a runner", wait_seconds),
)
