"""Leases: a job whose runner is silent for too long is lost, and one that outlives its limit is ended."""

from datetime import datetime, timedelta

from contracts.builds import (
    FINISHED_JOB,
    CancelJob,
    FinishJob,
    JobFinished,
    JobLost,
    JobRetried,
    JobRow,
    JobStatus,
    LoseJob,
)
from contracts.errors import Refused
from contracts.messages import Command
from contracts.runners import RunnerDeleted
from libs.deciding import Recorded
from libs.service import Context, TryLater
from services.builds.attempts import Attempts
from services.builds.domain.job import LOST
from services.builds.reporting import TIMED_OUT, Reporting
from services.builds.script import CLEANUP_SECONDS
from services.builds.story import tell_run

AT_ONCE = 100
RUNNING = {"$in": ["ASSIGNED", "RUNNING", "CANCELING"]}
SHORTEST_OUTAGE = timedelta(seconds=5)  # a restart is none
GRACE = 60  # seconds that a runner gets to report what it ended itself


class Leases:
    def __init__(self, attempts: Attempts, reporting: Reporting) -> None:
        self._attempts = attempts
        self._reporting = reporting

    async def look_after(self, ctx: Context) -> None:
        """Lose what is silent. Leases of claims that came to nothing are cleared away."""
        now = ctx.cause.at
        attempts = ctx.collection("attempts")
        if await attempts.find_one({"finished": False}, {"_id": 1}) is None or now < await self._patient_until(ctx):
            return
        expired = attempts.find({"finished": False, "lease_until": {"$lt": now}}, {"job_id": 1}, limit=AT_ONCE)
        async for found in expired:
            job: JobRow | None = await ctx.rows("job").get(f"job-{found['job_id']}")
            if job is None and found["job_id"]:
                await self._attempts.remove(ctx, found["job_id"])
            elif job is None or job.token_hash != found["_id"]:
                await self._attempts.discard(ctx, found["_id"])
            elif job.status not in FINISHED_JOB:
                reason = f"the runner {job.runner_name} has been silent for {ctx.settings.job_lease_seconds:g} seconds"
                await self._end(ctx, LoseJob(job_id=job.id, attempt=job.attempt, reason=reason), job)
            else:
                await self._reporting.conclude(ctx, job, found["_id"], success=job.status is JobStatus.SUCCESS)

    async def _patient_until(self, ctx: Context) -> datetime:
        """After an outage of ours runners get the time of a lease to be heard again: their silence was our deafness.

        Looks are noted in the database, so that a new leader knows how long nobody looked.
        """
        now, lease = ctx.cause.at, timedelta(seconds=ctx.settings.job_lease_seconds)
        looks = ctx.collection("lease_looks")
        last = await looks.find_one({"_id": "last"})
        unbroken = last is not None and now - last["at"] <= max(SHORTEST_OUTAGE, lease / 4)
        until: datetime = last["patient_until"] if unbroken else now + lease
        await looks.replace_one({"_id": "last"}, {"at": now, "patient_until": until}, upsert=True)
        return until

    async def look_for_overdue(self, ctx: Context) -> None:
        """End what runs longer than it may although its runner goes on reporting, and what nobody will report on."""
        lease = timedelta(seconds=ctx.settings.job_lease_seconds)
        async for job in ctx.rows("job").each({"status": RUNNING}):
            canceling = job.status is JobStatus.CANCELING
            since = job.canceling_at if canceling else job.assigned_at
            limit = timedelta(seconds=(CLEANUP_SECONDS if canceling else job.timeout_seconds) + GRACE)
            if since is None or ctx.cause.at < since + min(lease, limit):
                continue
            expected = {"_id": job.token_hash, "$or": [{"finished": False}, {"lease_until": {"$gte": ctx.cause.at}}]}
            if await ctx.collection("attempts").find_one(expected, {"_id": 1}) is None:
                reason = "the server was interrupted while it gave out the job or took its result"
                await self._end(ctx, LoseJob(job_id=job.id, attempt=job.attempt, reason=reason), job)
                continue
            if ctx.cause.at >= since + limit:
                await self._end(ctx, CancelJob(job_id=job.id) if canceling else _overdue(job), job)

    async def end_jobs_of(self, ctx: Context, recorded: Recorded[RunnerDeleted]) -> None:
        """A deleted runner reports no more: what it ran has failed, what it had not begun is for another one."""
        async for job in ctx.rows("job").each({"runner_uuid": recorded.event.runner_uuid, "status": RUNNING}):
            message = f"The runner {job.runner_name} was deleted"
            if job.status is JobStatus.ASSIGNED:
                await self._end(ctx, LoseJob(job_id=job.id, attempt=job.attempt, reason=message), job)
                continue
            deleted = FinishJob(
                job_id=job.id,
                attempt=job.attempt,
                status=JobStatus.FAILED,
                exit_code=LOST,
                reason="runner_deleted",
                message=message,
            )
            await self._end(ctx, deleted, job)

    async def _end(self, ctx: Context, command: Command, job: JobRow) -> None:
        try:
            await ctx.tell(command, step=f"{job.id}#{job.attempt}")
            tell_run(job, ctx.cause.at, type(command).__name__)
        except Refused as refused:
            if refused.code != "JOB_STATUS":  # it ended by itself in this very moment
                raise

    async def conclude(self, ctx: Context, recorded: Recorded[JobFinished | JobLost | JobRetried]) -> None:
        """The work after a job's attempt is over: its log is closed and its secrets are forgotten."""
        open_attempts = ctx.collection("attempts").find(
            {"job_id": recorded.event.job_id, "number": recorded.event.attempt, "finished": False}
        )
        success = isinstance(recorded.event, JobFinished) and recorded.event.status is JobStatus.SUCCESS
        async for found in open_attempts:  # seldom one: its runner has mostly told of its end
            job: JobRow | None = await ctx.rows("job").get(f"job-{recorded.event.job_id}")
            if job is None:
                return  # deleted meanwhile, and its log with it
            try:
                await self._reporting.conclude(ctx, job, found["_id"], success=success)
            except Refused as refused:
                if refused.code != "CONFLICT":
                    raise
                raise TryLater(0.1) from None  # a piece of the log came in between


def _overdue(job: JobRow) -> FinishJob:
    return FinishJob(
        job_id=job.id,
        attempt=job.attempt,
        status=JobStatus.FAILED,
        exit_code=TIMED_OUT,
        reason="job_execution_timeout",
        message=f"The job took longer than its limit of {job.timeout_seconds} seconds",
    )
