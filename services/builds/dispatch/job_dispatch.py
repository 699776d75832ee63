"""Job dispatch: assign the next job of the queue to a runner, with everything that the job needs."""

import asyncio
from dataclasses import dataclass
from uuid import uuid4

from contracts.builds import (
    ARCHIVE_TYPE,
    Assignment,
    BuildRow,
    ClaimJob,
    ClaimResult,
    ClaimReturned,
    Dependency,
    JobRow,
    JobStatus,
    JobVariable,
    KillBuild,
    ReturnClaim,
    RunnerDescription,
)
from contracts.errors import RequestRejected
from contracts.projects import JobSecrets
from libs import git_env
from libs.security.tokens import generate_token, hash_token
from libs.service.declaration import Context
from services.builds.dispatch.job_secrets import (
    ProjectDeletedError,
    is_trusted,
    load_job_secrets,
    with_owner,
    without_secrets,
)
from services.builds.dispatch.registry_logins import find_registry_logins
from services.builds.dispatch.runner_payload import with_pipeline_config
from services.builds.dispatch.scheduler import FairScheduler
from services.builds.dispatch.ssh_access import ssh_variables
from services.builds.domain.internal_commands import AssignJob, MarkJobLost
from services.builds.execution.attempts import AttemptStore
from services.builds.execution.build_spans import record_wait
from services.builds.execution.script import CLEANUP_TIMEOUT_SECONDS, compile_cleanup, compile_steps
from services.builds.queries.initiators import with_initiator_name

TOKEN_PREFIX = "hrj-"  # prefix of job tokens  # noqa: S105
MAX_JOBS_TRIED = 10


class JobDispatcher:
    def __init__(self, attempts: AttemptStore) -> None:
        self._attempts = attempts
        self._scheduler = FairScheduler()

    async def claim(self, ctx: Context, command: ClaimJob) -> ClaimResult:
        """Assign a queued job to the runner. The result has no assignment if no job fits.

        A repeated claim gets the same job again, as long as the runner has not reported anything about it. Raises
        CONFLICT if the claim is returned, or its job starts, while the claim is handled.
        """
        token = await ctx.derive_token(TOKEN_PREFIX)
        if (
            ctx.metadata.may_be_duplicate
            and (claimed_job_id := await self._attempts.job_of(ctx, hash_token(token))) is not None
        ):
            if job := await _undelivered_job(ctx, claimed_job_id, token):
                return ClaimResult(assignment=await self._repeat_assignment(ctx, command.runner, job, token))
            token = generate_token(TOKEN_PREFIX)  # the first claim's job has started or was returned: claim another one
        unassignable: set[int] = set()
        while len(unassignable) < MAX_JOBS_TRIED and (
            job := await self._scheduler.next_job(ctx, command.runner, unassignable, command.job_id)
        ):
            try:
                assignment = await self._assign(ctx, command.runner, job, token)
            finally:
                self._scheduler.release(job)
            if assignment is not None:
                return ClaimResult(assignment=assignment)
            unassignable.add(job.id)
        return ClaimResult(assignment=None)

    async def return_claim(self, ctx: Context, _command: ReturnClaim) -> ClaimReturned:
        """Take back a claim whose response could not be delivered. Its job, if any, is queued again."""
        token = await ctx.derive_token(TOKEN_PREFIX)
        job = await _undelivered_job(ctx, await self._attempts.block_claim(ctx, hash_token(token)), token)
        if job is not None:
            reason = f"the response did not reach the runner {job.runner_name}"
            lose = MarkJobLost(job_id=job.id, attempt=job.attempt, reason=reason, delivered=False)
            await ctx.send(lose, step=f"{job.id}#{job.attempt}")
        return ClaimReturned(job_id=job.id if job else None)

    async def _repeat_assignment(self, ctx: Context, runner: RunnerDescription, job: JobRow, token: str) -> Assignment:
        inputs = await _load_inputs(ctx, job)
        nonce = await self._attempts.reissue(ctx, hash_token(token), job, _values_to_mask(inputs.secrets, token))
        return _create_assignment(ctx, job, runner, inputs, token, nonce)

    async def _assign(self, ctx: Context, runner: RunnerDescription, job: JobRow, token: str) -> Assignment | None:
        try:
            inputs = await _load_inputs(ctx, job)
        except ProjectDeletedError:
            await ctx.send(KillBuild(build_id=job.build_id), step=str(job.build_id))
            return None
        nonce = uuid4().hex[:12]
        attempt_id, masked_values = hash_token(token), _values_to_mask(inputs.secrets, token)
        assign = AssignJob(
            job_id=job.id,
            attempt=job.attempt,
            runner_id=runner.runner_id,
            runner_uuid=runner.runner_uuid,
            runner_name=runner.name,
            token_hash=attempt_id,
            cancels_gracefully=runner.cancels_gracefully,
            reports_late=runner.reports_late,
            attempt_document=await self._attempts.new_document(ctx, attempt_id, job, nonce, masked_values),
        )
        try:
            # `step` is random: with equal command ids, two replicas that handle this claim would both succeed
            await asyncio.gather(
                ctx.send(assign, step=nonce, has_new_id=True), self._scheduler.record_service_time(ctx, job)
            )
        except RequestRejected:
            claimed_job_id = await self._attempts.job_of(ctx, attempt_id)
            if claimed_job_id is None:
                return None  # another claim got the job
            if claimed_job := await _undelivered_job(ctx, claimed_job_id, token):
                return await self._repeat_assignment(ctx, runner, claimed_job, token)
            raise RequestRejected("CONFLICT", "the claim was returned, or its job has started") from None
        record_wait(job, ctx.metadata.at)
        return _create_assignment(ctx, job, runner, inputs, token, nonce)


@dataclass(frozen=True, slots=True)
class JobInputs:
    secrets: JobSecrets
    build: BuildRow
    dependencies: tuple[Dependency, ...]


async def _load_inputs(ctx: Context, job: JobRow) -> JobInputs:
    """Load secrets, build and dependencies in parallel. Raises ProjectDeletedError."""
    secrets, build, dependencies = await asyncio.gather(
        load_job_secrets(ctx, job.project_id, job.project.repository if job.project else None),
        ctx.read_model(BuildRow).get(f"build-{job.build_id}"),
        _load_dependencies(ctx, job),
    )
    # used if the build was deleted since the job was queued
    build = build or BuildRow(id=job.build_id, local_id=job.build_local_id, project=job.project)
    if not is_trusted(build, job.ref):
        secrets = without_secrets(secrets)
    if build.project:
        build = build.replace(project=with_owner(build.project, secrets))
    return JobInputs(secrets, await with_initiator_name(ctx, build), dependencies)


async def _undelivered_job(ctx: Context, job_id: int, token: str) -> JobRow | None:
    """Return the job if it is assigned to this token and its runner has not reported yet, else None."""
    job = await ctx.read_model(JobRow).get(f"job-{job_id}")
    return job if job and job.token_hash == hash_token(token) and job.status is JobStatus.ASSIGNED else None


def _values_to_mask(secrets: JobSecrets, token: str) -> list[str]:
    """Return the values to mask in the job's log: secrets, SSH key, logins and the job token."""
    values = [secret.value for secret in secrets.secrets]
    values += [secrets.ssh_key] if secrets.ssh_key else []
    values += git_env.extract_secrets(secrets.repository_login or "")
    values += [login.password for login in find_registry_logins(secrets.secrets)]
    return [*values, token]


async def _load_dependencies(ctx: Context, job: JobRow) -> tuple[Dependency, ...]:
    """Return the jobs whose artifact archive this job downloads."""
    if job.planned is None or not job.planned.fetches:
        return ()
    sources = await ctx.read_model(JobRow).find(
        {"build_id": job.build_id, "name": {"$in": list(job.planned.fetches)}}, [("id", 1)]
    )
    return tuple(
        Dependency(job_id=source.id, name=source.name, file_name=archive.file_name, size=archive.size)
        for source in sources
        for archive in source.artifacts
        if archive.artifact_type == ARCHIVE_TYPE
    )


def _create_assignment(
    ctx: Context, job: JobRow, runner: RunnerDescription, inputs: JobInputs, token: str, nonce: str
) -> Assignment:
    assignment = _base_assignment(job, runner, inputs.secrets, token, nonce).replace(dependencies=inputs.dependencies)
    return with_pipeline_config(assignment, inputs.build, job, runner, nonce, ctx.settings.url)


def _base_assignment(job: JobRow, runner: RunnerDescription, secrets: JobSecrets, token: str, nonce: str) -> Assignment:
    if job.project is None or job.queued_at is None:
        raise RequestRejected("JOB_NOT_FOUND")
    variables = [JobVariable(key=secret.name, value=secret.value, masked=True) for secret in secrets.secrets]
    if secrets.ssh_key:
        variable_names = {secret.name for secret in secrets.secrets}
        variable_names |= {variable.key for variable in (job.planned.variables if job.planned else ())}
        variables += ssh_variables(secrets.ssh_key, variable_names)
    steps = job.steps if job.planned is None else ()  # the script of a pipeline job comes from `with_pipeline_config`
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
        project=with_owner(job.project, secrets),
        repository_login=secrets.repository_login,
        script=compile_steps(steps, nonce),
        after_script=compile_cleanup(steps, nonce) if runner.cancels_gracefully else (),
        after_script_seconds=CLEANUP_TIMEOUT_SECONDS,
        variables=tuple(variables),
        registry_logins=find_registry_logins(secrets.secrets),
        image=job.image,
        timeout_seconds=min(limits),
        queued_at=job.queued_at,
        delivery_id=job.delivery_id,
        traceparent=job.traceparent,
    )
