"""Leases of jobs: declare jobs lost whose runner stopped reporting, and end jobs that exceed their time limit.

Replicas' clocks differ, so only times of the database's clock or of this process's monotonic clock are compared.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from contracts.builds import FINISHED_JOB_STATUSES, JobFinished, JobLost, JobRetried, JobRow, JobStatus
from contracts.errors import RequestRejected
from contracts.runners import RunnerDeleted
from libs.eventstore.decider import InternalCommand, RecordedEvent
from libs.service.declaration import Context, RetryLater
from libs.service.outage_grace import compute_grace_deadline
from services.builds.domain.internal_commands import FinishJob, MarkJobLost
from services.builds.domain.job_events import LOST_EXIT_CODE
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.build_spans import record_run
from services.builds.execution.runner_reports import TIMEOUT_EXIT_CODE, RunnerReports
from services.builds.execution.script import CLEANUP_TIMEOUT_SECONDS

BATCH_SIZE = 100
TIME_FIELDS = {"finished": 1, "lease_until": 1, "opened_at": 1, "canceling_since": 1}
AT_RUNNER = {"$in": ["ASSIGNED", "RUNNING", "CANCELING"]}
REPORT_GRACE_SECONDS = 60  # added to the time limits of a job, so that a runner that enforces them reports first


class Leases:
    """Periodic checks of running jobs, and handlers of the events that end an attempt."""

    def __init__(self, attempts: AttemptStore, runner_reports: RunnerReports) -> None:
        self._attempts = attempts
        self._runner_reports = runner_reports

    async def expire_leases(self, ctx: Context) -> None:
        """Settle attempts whose lease has expired.

        If the job is unfinished, it is declared lost. If it has ended, its log is closed. If the attempt belongs to no
        job, or its job has another attempt by now, the attempt is deleted. After an outage of the server, leases do not
        expire during a grace period.
        """
        attempts, lease = ctx.collection("attempts"), timedelta(seconds=ctx.settings.job_lease_seconds)
        if await attempts.find_one({"finished": False}, {"_id": 1}) is None:
            return
        if (now := ctx.clock.database_time()) < await compute_grace_deadline(ctx, "lease_looks", lease):
            return
        expired = attempts.find({"finished": False, "lease_until": {"$lt": now}}, {"job_id": 1}, limit=BATCH_SIZE)
        async for found in expired:
            job = await ctx.read_model(JobRow).get(f"job-{found['job_id']}")
            if job is None and found["job_id"]:
                await self._attempts.delete_attempts_of_job(ctx, found["job_id"])
            elif job is None or job.token_hash != found["_id"]:
                await self._attempts.discard(ctx, found["_id"])
            elif job.status not in FINISHED_JOB_STATUSES:
                reason = f"the runner {job.runner_name} has been silent for {ctx.settings.job_lease_seconds:g} seconds"
                await self._send_end(ctx, MarkJobLost(job_id=job.id, attempt=job.attempt, reason=reason), job)
            else:
                await self._runner_reports.close_log(ctx, job, found["_id"], success=job.status is JobStatus.SUCCESS)

    async def enforce_timeouts(self, ctx: Context) -> None:
        """End jobs that exceed their time limit, and jobs whose attempt was finished without a result.

        A job has no attempt if a process of release 0.2.0 was interrupted while it assigned the job. Such a job is
        declared lost after one lease period.
        """
        lease = timedelta(seconds=ctx.settings.job_lease_seconds)
        async for job in ctx.read_model(JobRow).walk({"status": AT_RUNNER}):
            attempt = await ctx.collection("attempts").find_one({"_id": job.token_hash}, TIME_FIELDS)
            if attempt is None:
                if job.assigned_at is not None and job.assigned_at + lease < ctx.clock.database_time():
                    await self._lose_interrupted_job(ctx, job)
            elif attempt["finished"] and attempt["lease_until"] < ctx.clock.database_time():
                await self._lose_interrupted_job(ctx, job)
            elif job.status is JobStatus.CANCELING:
                await self._end_if_overdue(ctx, job, await self._get_canceling_since(ctx, attempt))
            else:
                await self._end_if_overdue(ctx, job, attempt.get("opened_at") or job.assigned_at)

    async def _lose_interrupted_job(self, ctx: Context, job: JobRow) -> None:
        reason = "the server was interrupted while it assigned the job or stored its result"
        await self._send_end(ctx, MarkJobLost(job_id=job.id, attempt=job.attempt, reason=reason), job)

    async def _end_if_overdue(self, ctx: Context, job: JobRow, since: datetime | None) -> None:
        if since is not None and ctx.clock.database_time() >= since + timedelta(seconds=_limit_seconds(job)):
            await self._send_end(ctx, timeout_command(job), job)

    async def _get_canceling_since(self, ctx: Context, attempt: Mapping[str, object]) -> datetime:
        """Return when this service first saw that the job is being canceled, by the database's clock.

        The time of the JobCanceling event is not used, because it comes from the clock of another replica.
        """
        since = attempt.get("canceling_since")
        if isinstance(since, datetime):
            return since
        since = ctx.clock.database_time()
        await ctx.collection("attempts").update_one({"_id": attempt["_id"]}, {"$set": {"canceling_since": since}})
        return since

    async def end_jobs_of_runner(self, ctx: Context, recorded: RecordedEvent[RunnerDeleted]) -> None:
        """End the attempts that a deleted runner was executing. The usual rules for retries apply.

        A running attempt fails. An attempt that is being canceled ends as canceled. An attempt that has not started is
        declared lost.
        """
        async for job in ctx.read_model(JobRow).walk({"runner_uuid": recorded.event.runner_uuid, "status": AT_RUNNER}):
            message = f"The runner {job.runner_name} was deleted"
            if job.status is JobStatus.ASSIGNED:
                await self._send_end(ctx, MarkJobLost(job_id=job.id, attempt=job.attempt, reason=message), job)
                continue
            deleted = FinishJob(
                job_id=job.id,
                attempt=job.attempt,
                status=JobStatus.FAILED,
                exit_code=LOST_EXIT_CODE,
                reason="runner_deleted",
                message=message,
            )
            await self._send_end(ctx, deleted, job)

    async def _send_end(self, ctx: Context, command: InternalCommand, job: JobRow) -> None:
        try:
            await ctx.send(command, step=f"{job.id}#{job.attempt}")
            record_run(job, ctx.metadata.at, command.wire_name)
        except RequestRejected as rejected:
            if rejected.code != "JOB_STATUS":  # JOB_STATUS: the job has ended in between
                raise

    async def close_attempt(self, ctx: Context, recorded: RecordedEvent[JobFinished | JobLost | JobRetried]) -> None:
        """Close the log of a finished attempt and delete its values to mask."""
        open_attempts = ctx.collection("attempts").find(
            {"job_id": recorded.event.job_id, "number": recorded.event.attempt, "finished": False}
        )
        success = isinstance(recorded.event, JobFinished) and recorded.event.status is JobStatus.SUCCESS
        async for found in open_attempts:  # usually none: the runner's final report has closed the log
            job = await ctx.read_model(JobRow).get(f"job-{recorded.event.job_id}")
            if job is None:
                return  # the job was deleted together with its log
            try:
                await self._runner_reports.close_log(ctx, job, found["_id"], success=success)
            except RequestRejected as rejected:
                if rejected.code != "CONFLICT":
                    raise
                raise RetryLater(0.1) from None  # a part of the log arrived at the same time


def _limit_seconds(job: JobRow) -> float:
    """Return after how many seconds the server ends a job that runs, or that is being canceled."""
    return (
        CLEANUP_TIMEOUT_SECONDS if job.status is JobStatus.CANCELING else job.timeout_seconds
    ) + REPORT_GRACE_SECONDS


def timeout_command(job: JobRow) -> FinishJob:
    """Return the command that ends an attempt after its time limit. An attempt that is being canceled is canceled.

    If the job has another attempt by then, perhaps of its next round, the command is rejected.
    """
    return FinishJob(
        job_id=job.id,
        attempt=job.attempt,
        status=JobStatus.FAILED,
        exit_code=TIMEOUT_EXIT_CODE,
        reason="job_execution_timeout",
        message=f"The job took longer than its limit of {job.timeout_seconds} seconds",
    )
