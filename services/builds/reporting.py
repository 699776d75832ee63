"""What a runner tells about its job: pieces of the log, that it lives, and how it ended."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cachetools import LRUCache

from contracts.builds import (
    FINISHED_JOB,
    AppendTrace,
    FinishJob,
    JobRow,
    JobStatus,
    LoseJob,
    RecordSteps,
    ReportJob,
    Section,
    StartJob,
    TraceState,
)
from contracts.errors import Refused
from contracts.runners import NoticeRunner
from libs.deciding import Actor, runner_called
from libs.observability.tracing import link
from libs.security.tokens import same, token_hash
from libs.service import Context
from services.builds.attempts import Attempt, Attempts
from services.builds.script import STEP_FAILED
from services.builds.story import tell_run, tell_steps

log = logging.getLogger("headrace.builds")

MAX_RUNNERS = 10_000  # remembered: a forgotten one is noticed once more
CUSTOM_ERROR = 2000
TIMED_OUT = 124
CHECKOUT_FAILED = 128
GIVEN_BACK = {
    "runner_interrupted": "the runner {} was stopped",
    "runner_system_failure": "the runner {} could not prepare or go on with the job; the log says why",
}


M = TypeVar("M", AppendTrace, ReportJob)


class Reporting:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._noticed: LRUCache[str, float] = LRUCache(MAX_RUNNERS)  # by the monotonic clock

    async def append(self, ctx: Context, command: AppendTrace) -> TraceState:
        return await self._unless_over(ctx, command, self._append)

    async def report(self, ctx: Context, command: ReportJob) -> TraceState:
        return await self._unless_over(ctx, command, self._report)

    async def _unless_over(
        self, ctx: Context, command: M, work: Callable[[Context, M], Awaitable[TraceState]]
    ) -> TraceState:
        """A job may be ended while its runner reports: then that is what the runner is told."""
        try:
            return await work(ctx, command)
        except Refused as refused:
            if refused.code != "JOB_STATUS":
                raise
            job = await self._job(ctx, command.job_id, command.token)
            if job.status not in FINISHED_JOB:
                raise
            return TraceState(job_status=_word(job), length=0, accepted=False)

    async def _append(self, ctx: Context, command: AppendTrace) -> TraceState:
        job = await self._job(ctx, command.job_id, command.token)
        if job.status in FINISHED_JOB:
            return TraceState(job_status=_word(job), length=0, accepted=False)
        await self._started(ctx, job)
        before = await self._attempts.get(ctx, job)
        after = await self._attempts.append(ctx, job, before, command.offset, command.content, job.steps)
        if after.sections != before.sections and (steps := _steps(after.sections)):
            record = RecordSteps(job_id=job.id, attempt=job.attempt, steps=steps)
            await ctx.tell(record, step=str(after.length), actor=_runner_of(job))
            tell_steps(job, before.sections, after.sections)
        if after is before:
            await self._attempts.renew(ctx, after.id)
        await self._notice(ctx, job)
        return TraceState(job_status=_word(job), length=after.length, accepted=True)

    async def _report(self, ctx: Context, command: ReportJob) -> TraceState:
        job = await self._job(ctx, command.job_id, command.token)
        status = JobStatus.SUCCESS if command.state == "success" else JobStatus.FAILED
        final = command.state in ("success", "failed")
        if job.status in FINISHED_JOB:
            repeated = final and (_word(job) == command.state or job.canceling_at is not None)
            return TraceState(job_status=_word(job), length=0, accepted=repeated)
        await self._started(ctx, job)
        attempt = await self._attempts.get(ctx, job)
        if not final:
            await self._attempts.renew(ctx, attempt.id)
            await self._notice(ctx, job)
            return TraceState(job_status=_word(job), length=attempt.length, accepted=True)
        if not attempt.finished and not _complete(command, attempt):
            await self._attempts.restart(ctx, attempt)
            raise Refused("LOG_CHECKSUM")
        before = attempt.sections
        attempt = await self._attempts.finish(ctx, job, attempt, job.steps, success=status is JobStatus.SUCCESS)
        tell_steps(job, before, attempt.sections)
        await ctx.tell(_end(job, status, command, attempt.sections), actor=_runner_of(job))
        tell_run(job, ctx.cause.at, command.state)
        return TraceState(job_status=command.state, length=attempt.length, accepted=True)

    async def conclude(self, ctx: Context, job: JobRow, attempt_id: str, *, success: bool = False) -> None:
        """The job was ended by us: its log gets no more, so what waited is stored and the masks are forgotten."""
        of_attempt = job.but(token_hash=attempt_id)
        try:
            attempt = await self._attempts.get(ctx, of_attempt)
        except Refused:
            return
        await self._attempts.finish(ctx, of_attempt, attempt, job.steps, success=success)

    async def _job(self, ctx: Context, job_id: int, token: str) -> JobRow:
        job: JobRow | None = await ctx.rows("job").get(f"job-{job_id}")
        if job is None or not job.token_hash or not same(job.token_hash, token_hash(token)):
            raise Refused("JOB_TOKEN")
        link(job.traceparent)
        return job

    async def _started(self, ctx: Context, job: JobRow) -> None:
        """Some runners never say that they begin: any call means it."""
        if job.status is JobStatus.ASSIGNED:
            await ctx.tell(StartJob(job_id=job.id, attempt=job.attempt), actor=_runner_of(job))

    async def _notice(self, ctx: Context, job: JobRow) -> None:
        """A runner that works does not ask for jobs: what it says of its job shows that it is there."""
        runner, now = job.runner_uuid or "", ctx.clock.monotonic()
        last = self._noticed.get(runner)
        if last is not None and now - last < ctx.settings.runner_offline_seconds / 4:
            return
        self._noticed[runner] = now
        try:
            await ctx.tell(NoticeRunner(runner_uuid=runner))
        except Refused as refused:
            log.warning("runner %s was not noticed: %s", runner, refused.code)  # the next call tells it again
            self._noticed.pop(runner, None)


def _steps(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """The first one is what comes before the steps."""
    return sections[1:]


def _runner_of(job: JobRow) -> Actor:
    return runner_called(job.runner_name or "")


def _complete(command: ReportJob, attempt: Attempt) -> bool:
    """Whether the log that arrived is the one that was sent, as far as the runner says."""
    if command.bytesize is not None and command.bytesize != attempt.length:
        return False
    return command.checksum is None or command.checksum == f"crc32:{attempt.crc:08x}"


def _end(job: JobRow, status: JobStatus, command: ReportJob, sections: tuple[Section, ...]) -> FinishJob | LoseJob:
    if status is JobStatus.FAILED and (reason := GIVEN_BACK.get(command.failure_reason)):
        reason = reason.format(job.runner_name)
        return LoseJob(job_id=job.id, attempt=job.attempt, reason=reason, steps=_steps(sections))
    late = next((one for one in sections if one.timed_out), None) if status is JobStatus.FAILED else None
    code, message = _outlasted(job, late) if late else _meaning(job, status, command)
    reason = "job_execution_timeout" if late else command.failure_reason or "script_failure"
    return FinishJob(
        job_id=job.id,
        attempt=job.attempt,
        status=status,
        exit_code=code,
        reason="" if status is JobStatus.SUCCESS else reason,
        message=message,
        output=None if status is JobStatus.SUCCESS else f"The build ended with exit code {code}: {message}",
        steps=_steps(sections),
    )


def _outlasted(job: JobRow, section: Section) -> tuple[int, str]:
    limit = next((step.timeout_seconds for step in job.steps if step.name.removeprefix("@") == section.step), 0)
    return TIMED_OUT, f"The step @{section.step} took longer than its limit of {limit} seconds"


def _meaning(job: JobRow, status: JobStatus, command: ReportJob) -> tuple[int, str | None]:
    """Exit code and message in words."""
    code = command.exit_code
    match status, command.failure_reason, code:
        case JobStatus.SUCCESS, _, _:
            return 0, None
        case _, "job_execution_timeout", _:
            return TIMED_OUT, f"The job took longer than its limit of {job.timeout_seconds} seconds"
        case _, "runner_external_dependency_failure", None:
            return CHECKOUT_FAILED, "The runner could not check out the commit; the log says why"
        case _, _, int() if code == STEP_FAILED and job.planned is None:
            return CUSTOM_ERROR, "Custom deployment error"
        case _, _, int() if code:
            return code, f"A script ended the build with exit code {code}"
        case _:
            return 1, command.failure_reason or "The job failed"


def _word(job: JobRow) -> str:
    match job.status:
        case JobStatus.CANCELING | JobStatus.CANCELED | JobStatus.SUCCESS | JobStatus.FAILED:
            return job.status.lower()
        case JobStatus.WARNING:
            return "failed"
        case _:
            return "running"
