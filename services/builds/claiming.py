"""A runner asks for work: it gets the job that fits it and whose turn it is, and all that the job needs."""

import asyncio
from dataclasses import dataclass
from uuid import uuid4

from pymongo.errors import DuplicateKeyError

from contracts.builds import (
    ARCHIVE,
    AssignJob,
    Assignment,
    BuildRow,
    Claim,
    ClaimJob,
    Dependency,
    JobRow,
    JobStatus,
    KillBuild,
    LoseJob,
    ReturnClaim,
    Returned,
    RunnerOffer,
    Variable,
)
from contracts.errors import Refused
from contracts.projects import JobSecrets
from libs import git
from libs.security.tokens import new_token, token_hash
from libs.service import Context
from services.builds.attempts import Attempts
from services.builds.entrusted import ProjectGone, job_secrets
from services.builds.pipeline.assigning import equipped
from services.builds.queue import Turns
from services.builds.registries import registry_logins
from services.builds.script import CLEANUP_SECONDS, compile_cleanup, compile_steps
from services.builds.ssh_access import ssh_variables
from services.builds.story import tell_wait

BEGINNING = "hrj-"  # what job tokens begin with
TRIES = 10


class Claiming:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._turns = Turns()

    async def claim(self, ctx: Context, command: ClaimJob) -> Claim:
        """Answer a job that nobody else has, or none; the same one again to a claim that is repeated."""
        token = await ctx.new_token(BEGINNING)
        if ctx.cause.repeatable and (taken := await self._attempts.taken(ctx, token_hash(token))) is not None:
            if job := await _given(ctx, taken, token):
                return Claim(assignment=await self._repeat(ctx, command.runner, job, token))
            token = new_token(BEGINNING)  # its runner was heard of since, or it was returned: this is another claim
        passed: set[int] = set()
        while len(passed) < TRIES and (job := await self._turns.next(ctx, command.runner, passed)):
            try:
                assignment = await self._try(ctx, command.runner, job, token)
            finally:
                self._turns.done(job)
            if assignment is not None:
                return Claim(assignment=assignment)
            passed.add(job.id)
        return Claim(assignment=None)

    async def give_back(self, ctx: Context, _command: ReturnClaim) -> Returned:
        token = await ctx.new_token(BEGINNING)
        job = await _given(ctx, await self._attempts.bar(ctx, token_hash(token)), token)
        if job is not None:
            await self._undeliverable(ctx, job, job.runner_name or "")
        return Returned(job_id=job.id if job else None)

    async def _undeliverable(self, ctx: Context, job: JobRow, runner: str) -> None:
        reason = f"the answer did not reach the runner {runner}"
        lose = LoseJob(job_id=job.id, attempt=job.attempt, reason=reason, delivered=False)
        await ctx.tell(lose, step=f"{job.id}#{job.attempt}")

    async def _repeat(self, ctx: Context, runner: RunnerOffer, job: JobRow, token: str) -> Assignment:
        needs = await _needs(ctx, job)
        word = await self._attempts.reopen(ctx, token_hash(token), job, _hidden(needs.secrets, token))
        return _assignment(ctx, job, runner, needs, token, word)

    async def _try(self, ctx: Context, runner: RunnerOffer, job: JobRow, token: str) -> Assignment | None:
        try:
            needs = await _needs(ctx, job)
        except ProjectGone:
            await ctx.tell(KillBuild(build_id=job.build_id), step=str(job.build_id))
            return None
        word = uuid4().hex[:12]
        attempt_id = token_hash(token)
        assign = AssignJob(
            job_id=job.id,
            attempt=job.attempt,
            runner_id=runner.runner_id,
            runner_uuid=runner.runner_uuid,
            runner_name=runner.name,
            token_hash=attempt_id,
            cancels_gracefully=runner.cancels_gracefully,
            reports_late=runner.reports_late,
        )
        # side by side, to save a round: one without the other is found by the leases
        opened, assigned, noted = await asyncio.gather(
            self._attempts.open(ctx, attempt_id, job, word, _hidden(needs.secrets, token)),
            ctx.tell(assign, step=f"{job.id}#{job.attempt}"),
            self._turns.note(ctx, job),
            return_exceptions=True,
        )
        given_up = isinstance(opened, DuplicateKeyError)  # by who waited for the answer, or it was repeated meanwhile
        if isinstance(assigned, BaseException):
            if not given_up:
                await self._attempts.discard(ctx, attempt_id)
            if isinstance(assigned, Refused):
                return None
            raise assigned
        if given_up and await self._attempts.taken(ctx, attempt_id) == job.id:
            return await self._repeat(ctx, runner, job, token)
        if given_up:
            await self._undeliverable(ctx, job, runner.name)
            raise Refused("CONFLICT", "the claim was returned, or got another job")
        for outcome in (opened, noted):
            if isinstance(outcome, BaseException):
                raise outcome
        tell_wait(job, ctx.cause.at)
        return _assignment(ctx, job, runner, needs, token, word)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a job's runner gets besides the job itself."""

    secrets: JobSecrets
    build: BuildRow
    dependencies: tuple[Dependency, ...]


async def _needs(ctx: Context, job: JobRow) -> Needs:
    """All at once, to save rounds. Raises ProjectGone."""
    secrets, build, dependencies = await asyncio.gather(
        job_secrets(ctx, job.project_id, job.project.repository if job.project else None),
        ctx.rows("build").get(f"build-{job.build_id}"),
        _dependencies(ctx, job),
    )
    gone = BuildRow(id=job.build_id, local_id=job.build_local_id, project=job.project)  # deleted meanwhile
    return Needs(secrets, build or gone, dependencies)


async def _given(ctx: Context, job_id: int, token: str) -> JobRow | None:
    """The job, if it is this token's and its runner was not heard of."""
    job: JobRow | None = await ctx.rows("job").get(f"job-{job_id}")
    return job if job and job.token_hash == token_hash(token) and job.status is JobStatus.ASSIGNED else None


def _hidden(secrets: JobSecrets, token: str) -> list[str]:
    """What the log must not show."""
    hidden = [secret.value for secret in secrets.secrets]
    hidden += [secrets.ssh_key] if secrets.ssh_key else []
    hidden += git.confidential(secrets.repository_login or "")
    hidden += [one.password for one in registry_logins(secrets.secrets)]
    return [*hidden, token]


async def _dependencies(ctx: Context, job: JobRow) -> tuple[Dependency, ...]:
    """Of the jobs that it names, those that left an archive."""
    if job.planned is None or not job.planned.fetches:
        return ()
    named: list[JobRow] = await ctx.rows("job").find(
        {"build_id": job.build_id, "name": {"$in": list(job.planned.fetches)}}, [("id", 1)]
    )
    return tuple(
        Dependency(job_id=one.id, name=one.name, file_name=archive.file_name, size=archive.size)
        for one in named
        for archive in one.artifacts
        if archive.artifact_type == ARCHIVE
    )


def _assignment(ctx: Context, job: JobRow, runner: RunnerOffer, needs: Needs, token: str, word: str) -> Assignment:
    assignment = _plain(job, runner, needs.secrets, token, word).but(dependencies=needs.dependencies)
    return equipped(assignment, needs.build, job, runner, word, ctx.settings.url)


def _plain(job: JobRow, runner: RunnerOffer, secrets: JobSecrets, token: str, word: str) -> Assignment:
    if job.project is None or job.queued_at is None:
        raise Refused("JOB_NOT_FOUND")
    variables = [Variable(key=secret.name, value=secret.value, masked=True) for secret in secrets.secrets]
    if secrets.ssh_key:
        own = {one.name for one in secrets.secrets} | {
            one.key for one in (job.planned.variables if job.planned else ())
        }
        variables += ssh_variables(secrets.ssh_key, own)
    steps = job.steps if job.planned is None else ()  # a pipeline's job brings its own script
    limits = [job.timeout_seconds, *([runner.max_timeout_seconds] if runner.max_timeout_seconds else [])]
    return Assignment(
        job_id=job.id,
        job_uuid=job.uuid,
        build_id=job.build_id,
        attempt=job.attempt,
        token=token,
        name=job.name,
        stage=job.stage,
        ref=job.ref,
        sha=job.sha,
        project=job.project,
        repository_login=secrets.repository_login,
        script=compile_steps(steps, word),
        after_script=compile_cleanup(steps, word) if runner.cancels_gracefully else (),
        after_script_seconds=CLEANUP_SECONDS,
        variables=tuple(variables),
        registry_logins=registry_logins(secrets.secrets),
        image=job.image,
        timeout_seconds=min(limits),
        queued_at=job.queued_at,
        delivery_id=job.delivery_id,
        traceparent=job.traceparent,
    )
