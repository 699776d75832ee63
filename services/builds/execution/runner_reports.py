"""Reports of runners about their jobs: log chunks, keep-alives and results."""

import logging
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from cachetools import LRUCache

from contracts.builds import FINISHED_JOB_STATUSES, AppendTrace, JobRow, JobStatus, ReportJob, Section, TraceState
from contracts.errors import RequestRejected
from contracts.runners import RecordRunnerHeartbeat
from libs.eventstore.decider import Actor, runner_actor
from libs.observability.tracing import add_link
from libs.security.tokens import constant_time_equals, hash_token
from libs.service.declaration import Context
from services.builds.domain.internal_commands import FinishJob, MarkJobLost, RecordSteps, StartJob
from services.builds.execution.attempts import Attempt, AttemptStore
from services.builds.execution.build_spans import record_run, record_steps
from services.builds.execution.script import STEP_FAILED_EXIT_CODE
from services.builds.logs.log_coverage import find_coverage

log = logging.getLogger("headrace.builds")

MAX_TRACKED_RUNNERS = 10_000  # an evicted runner only causes one more heartbeat command
CUSTOM_ERROR_EXIT_CODE = 2000
TIMEOUT_EXIT_CODE = 124
CHECKOUT_EXIT_CODE = 128
LOSS_REASONS = {
    "runner_interrupted": "the runner {} was stopped",
    "runner_system_failure": "the runner {} could not prepare or continue the job; see its log",
}


M = TypeVar("M", AppendTrace, ReportJob)


class RunnerReports:
    """Handlers for the reports of runners. The replies contain the job's status in terms of the runner protocol."""

    def __init__(self, attempts: AttemptStore) -> None:
        self._attempts = attempts
        self._heartbeat_at: LRUCache[str, float] = LRUCache(MAX_TRACKED_RUNNERS)  # runner UUID -> monotonic time

    async def append_log(self, ctx: Context, command: AppendTrace) -> TraceState:
        """Append a chunk of the log. Raises JOB_TOKEN, LOG_RANGE and CONFLICT."""
        return await self._answer_if_finished(ctx, command, self._append_log)

    async def report_status(self, ctx: Context, command: ReportJob) -> TraceState:
        """Record a keep-alive or the final result. Raises JOB_TOKEN, CONFLICT, LOG_RANGE and LOG_CHECKSUM."""
        return await self._answer_if_finished(ctx, command, self._report_status)

    async def _answer_if_finished(
        self, ctx: Context, command: M, handler: Callable[[Context, M], Awaitable[TraceState]]
    ) -> TraceState:
        """Run the handler. If the job is ended at the same time, return its final status instead."""
        try:
            return await handler(ctx, command)
        except RequestRejected as rejected:
            if rejected.code != "JOB_STATUS":
                raise
            job = await self._authenticate_job(ctx, command.job_id, command.token)
            if job.status not in FINISHED_JOB_STATUSES:
                raise
            return TraceState(job_status=_protocol_status(job), length=0, accepted=False)

    async def _append_log(self, ctx: Context, command: AppendTrace) -> TraceState:
        job = await self._authenticate_job(ctx, command.job_id, command.token)
        if job.status in FINISHED_JOB_STATUSES:
            return TraceState(job_status=_protocol_status(job), length=0, accepted=False)
        await self._start_if_assigned(ctx, job)
        before = await self._attempts.get(ctx, job)
        after = await self._attempts.append(ctx, job, before, command.offset, command.content, job.steps)
        if after.sections != before.sections and (steps := _step_sections(after.sections)):
            record = RecordSteps(job_id=job.id, attempt=job.attempt, steps=steps)
            await ctx.send(record, step=str(after.length), actor=_runner_actor(job))
            record_steps(job, before.sections, after.sections)
        if after is before:
            await self._attempts.extend_lease(ctx, after.id)
        await self._record_heartbeat(ctx, job)
        return TraceState(job_status=_protocol_status(job), length=after.length, accepted=True)

    async def _report_status(self, ctx: Context, command: ReportJob) -> TraceState:
        job = await self._authenticate_job(ctx, command.job_id, command.token)
        status = JobStatus.SUCCESS if command.state == "success" else JobStatus.FAILED
        final = command.state in ("success", "failed")
        if job.status in FINISHED_JOB_STATUSES:
            repeated = final and (_protocol_status(job) == command.state or job.canceling_at is not None)
            return TraceState(job_status=_protocol_status(job), length=0, accepted=repeated)
        await self._start_if_assigned(ctx, job)
        attempt = await self._attempts.get(ctx, job)
        if not final:
            await self._attempts.extend_lease(ctx, attempt.id)
            await self._record_heartbeat(ctx, job)
            return TraceState(job_status=_protocol_status(job), length=attempt.length, accepted=True)
        end = command.log_end
        received = attempt.continue_log(end.offset, end.content) if end else b""
        if not attempt.finished and not _is_log_complete(command, attempt, received):
            await self._attempts.reset_log(ctx, attempt)
            raise RequestRejected("LOG_CHECKSUM")
        before = attempt.sections
        attempt = await self._attempts.finish(
            ctx, job, attempt, job.steps, success=status is JobStatus.SUCCESS, received=received
        )
        record_steps(job, before, attempt.sections)
        result = _end_command(job, status, command, attempt.sections)
        if isinstance(result, FinishJob):
            result = replace(result, coverage=await find_coverage(ctx, job, attempt.id))
        await ctx.send(result, actor=_runner_actor(job))
        record_run(job, ctx.metadata.at, command.state)
        return TraceState(job_status=command.state, length=attempt.length, accepted=True)

    async def close_log(self, ctx: Context, job: JobRow, attempt_id: str, *, success: bool = False) -> None:
        """Close the log of a job that the server ended: store the remaining bytes and delete the values to mask."""
        of_attempt = job.replace(token_hash=attempt_id)
        try:
            attempt = await self._attempts.get(ctx, of_attempt)
        except RequestRejected:
            return
        await self._attempts.finish(ctx, of_attempt, attempt, job.steps, success=success)

    async def _authenticate_job(self, ctx: Context, job_id: int, token: str) -> JobRow:
        job = await ctx.read_model(JobRow).get(f"job-{job_id}")
        if job is None or not job.token_hash or not constant_time_equals(job.token_hash, hash_token(token)):
            raise RequestRejected("JOB_TOKEN")
        add_link(job.traceparent)
        return job

    async def _start_if_assigned(self, ctx: Context, job: JobRow) -> None:
        """Start an assigned job at its first report, because some runners do not report the start."""
        if job.status is JobStatus.ASSIGNED:
            await ctx.send(StartJob(job_id=job.id, attempt=job.attempt), actor=_runner_actor(job))

    async def _record_heartbeat(self, ctx: Context, job: JobRow) -> None:
        """Keep the runner online: a busy runner does not ask for jobs, so its reports count as heartbeats."""
        runner, now = job.runner_uuid or "", ctx.clock.monotonic()
        last = self._heartbeat_at.get(runner)
        if last is not None and now - last < ctx.settings.runner_offline_seconds / 4:
            return
        self._heartbeat_at[runner] = now
        try:
            await ctx.send(RecordRunnerHeartbeat(runner_uuid=runner))
        except RequestRejected as rejected:
            # the next report tries again
            log.warning("heartbeat of runner %s was not recorded: %s", runner, rejected.code)
            self._heartbeat_at.pop(runner, None)


def _step_sections(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    return sections[1:]


def _runner_actor(job: JobRow) -> Actor:
    return runner_actor(job.runner_name or "")


def _is_log_complete(command: ReportJob, attempt: Attempt, received: bytes) -> bool:
    """Return whether the log with its received end matches the size and the checksum, if the report has them."""
    if command.bytesize is not None and command.bytesize != attempt.length + len(received):
        return False
    return command.checksum is None or command.checksum == f"crc32:{zlib.crc32(received, attempt.crc):08x}"


def _end_command(
    job: JobRow, status: JobStatus, command: ReportJob, sections: tuple[Section, ...]
) -> FinishJob | MarkJobLost:
    if status is JobStatus.FAILED and (reason := LOSS_REASONS.get(command.failure_reason)):
        reason = reason.format(job.runner_name)
        return MarkJobLost(job_id=job.id, attempt=job.attempt, reason=reason, steps=_step_sections(sections))
    timed_out = (
        next((section for section in sections if section.timed_out), None) if status is JobStatus.FAILED else None
    )
    code, message = _timeout_result(job, timed_out) if timed_out else _exit_result(job, status, command)
    reason = "job_execution_timeout" if timed_out else command.failure_reason or "script_failure"
    return FinishJob(
        job_id=job.id,
        attempt=job.attempt,
        status=status,
        exit_code=code,
        reason="" if status is JobStatus.SUCCESS else reason,
        message=message,
        output=None if status is JobStatus.SUCCESS else f"The build ended with exit code {code}: {message}",
        steps=_step_sections(sections),
    )


def _timeout_result(job: JobRow, section: Section) -> tuple[int, str]:
    limit = next((step.timeout_seconds for step in job.steps if step.name.removeprefix("@") == section.step), 0)
    return TIMEOUT_EXIT_CODE, f"The step @{section.step} took longer than its limit of {limit} seconds"


def _exit_result(job: JobRow, status: JobStatus, command: ReportJob) -> tuple[int, str | None]:
    """Return the exit code and the message of a final report."""
    code = command.exit_code
    match status, command.failure_reason, code:
        case JobStatus.SUCCESS, _, _:
            return 0, None
        case _, "job_execution_timeout", _:
            return TIMEOUT_EXIT_CODE, f"The job took longer than its limit of {job.timeout_seconds} seconds"
        case _, "runner_external_dependency_failure", None:
            return CHECKOUT_EXIT_CODE, "The runner could not check out the commit; see the log"
        case _, _, int() if code == STEP_FAILED_EXIT_CODE and job.planned is None:
            return CUSTOM_ERROR_EXIT_CODE, "Custom deployment error"
        case _, _, int() if code:
            return code, f"A script ended the build with exit code {code}"
        case _:
            return 1, command.failure_reason or "The job failed"


def _protocol_status(job: JobRow) -> str:
    match job.status:
        case JobStatus.CANCELING | JobStatus.CANCELED | JobStatus.SUCCESS | JobStatus.FAILED:
            return job.status.lower()
        case JobStatus.WARNING:
            return "failed"
        case _:
            return "running"
