"""A runner asks for work: it gets the job that fits it and whose turn it is, and all that the job needs."""

import asyncio
from uuid import uuid4

from contracts.builds import (
    ARCHIVE,
    AssignJob,
    Assignment,
    BuildRow,
    Claim,
    ClaimJob,
    Dependency,
    JobRow,
    KillBuild,
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
from services.builds.script import CLEANUP_SECONDS, compile_cleanup, compile_steps

TRIES = 10
SSH_KEY = "HEADRACE_SSH_KEY"


class Claiming:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._turns = Turns()

    async def claim(self, ctx: Context, command: ClaimJob) -> Claim:
        """Answer a job that nobody else has, or none."""
        passed: set[int] = set()
        while len(passed) < TRIES and (job := await self._turns.next(ctx, command.runner, passed)):
            try:
                assignment = await self._try(ctx, command.runner, job)
            finally:
                self._turns.done(job)
            if assignment is not None:
                return Claim(assignment=assignment)
            passed.add(job.id)
        return Claim(assignment=None)

    async def _try(self, ctx: Context, runner: RunnerOffer, job: JobRow) -> Assignment | None:
        try:
            secrets = await job_secrets(ctx, job.project_id, job.project.repository if job.project else None)
        except ProjectGone:
            await ctx.tell(KillBuild(build_id=job.build_id), step=str(job.build_id))
            return None
        hidden = [secret.value for secret in secrets.secrets]
        hidden += [secrets.ssh_key] if secrets.ssh_key else []
        hidden += git.confidential(secrets.repository_login or "")
        dependencies = await _dependencies(ctx, job)
        build: BuildRow | None = await ctx.rows("build").get(f"build-{job.build_id}") if job.planned else None
        token, word = new_token("hrj-"), uuid4().hex[:12]
        hidden += [token] if job.planned else []  # a variable of pipelines' jobs
        attempt_id = token_hash(token)
        assign = AssignJob(
            job_id=job.id,
            attempt=job.attempt,
            runner_id=runner.runner_id,
            runner_uuid=runner.runner_uuid,
            runner_name=runner.name,
            token_hash=attempt_id,
            cancels_gracefully=runner.cancels_gracefully,
        )
        # side by side, to save a round: one without the other is found by the leases
        opened, assigned, noted = await asyncio.gather(
            self._attempts.open(ctx, attempt_id, job, word, hidden),
            ctx.tell(assign, step=str(job.id)),
            self._turns.note(ctx, job),
            return_exceptions=True,
        )
        if isinstance(assigned, BaseException):
            await self._attempts.discard(ctx, attempt_id)
            if isinstance(assigned, Refused):
                return None
            raise assigned
        for outcome in (opened, noted):
            if isinstance(outcome, BaseException):
                raise outcome
        assignment = _assignment(job, runner, secrets, token, word).but(dependencies=dependencies)
        if job.planned is None or build is None:
            return assignment
        return equipped(assignment, build, job, job.planned, word, ctx.settings.url)


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


def _assignment(job: JobRow, runner: RunnerOffer, secrets: JobSecrets, token: str, word: str) -> Assignment:
    if job.project is None or job.queued_at is None:
        raise Refused("JOB_NOT_FOUND")
    variables = [Variable(key=secret.name, value=secret.value, masked=True) for secret in secrets.secrets]
    if secrets.ssh_key:
        variables.append(Variable(key=SSH_KEY, value=secrets.ssh_key, masked=True, file=True))
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
        image=job.image,
        timeout_seconds=min(limits),
        queued_at=job.queued_at,
        delivery_id=job.delivery_id,
    )
