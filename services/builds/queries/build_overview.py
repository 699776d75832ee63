"""One build with its jobs, their attempts, steps and artifacts, and the reasons why jobs wait."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from contracts.builds import (
    AttemptOverview,
    BuildCoverage,
    BuildJobStatus,
    BuildOverview,
    BuildRow,
    BuildTests,
    GetBuild,
    GetBuildCoverage,
    GetBuildOverview,
    JobAttempt,
    JobOverview,
    JobRow,
    JobStatus,
    LogStep,
    ProjectName,
    Section,
    UserName,
)
from libs.documents import Document
from libs.eventstore.decider import SYSTEM
from libs.service.declaration import Context
from services.builds.artifacts.artifacts import is_expired
from services.builds.logs.log_coverage import mean_coverage
from services.builds.queries.build_queries import get_build
from services.builds.queries.queue_queries import NOT_STARTED, build_wait_reason, job_wait_reasons
from services.builds.reports.report_store import load_summaries, summarize

MAX_NAMED_JOBS = 3  # jobs named in the reason why a job waits
UNFINISHED_UPSTREAM = frozenset({JobStatus.CREATED, JobStatus.MANUAL, JobStatus.QUEUED})
MANUAL_JOB_REASON = "Waits until a user starts it."


async def get_build_overview(ctx: Context, query: GetBuildOverview) -> BuildOverview:
    """Return a build with all details of its page. Raises BUILD_NOT_FOUND."""
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    jobs = await ctx.read_model(JobRow).find({"build_id": build.id}, [("id", 1)])
    logs = await _load_logs(ctx, build.id)
    reasons = await job_wait_reasons(ctx, [job.id for job in jobs if job.demand])
    waiting_for = await build_wait_reason(ctx, build, reasons) if build.status in NOT_STARTED else None
    names = await ctx.get_usernames({user for user in (build.initiator_id, build.killed_by_id) if user})
    return BuildOverview(
        **build.model_dump(include=set(BuildOverview.model_fields) & set(BuildRow.model_fields) - {"project", "jobs"}),
        project=_to_project(build),
        initiator=UserName(id=build.initiator_id, name=names.get(build.initiator_id, SYSTEM.name)),
        ignored_steps=build.ignore_steps,
        waiting_for=waiting_for,
        jobs=tuple(_to_jobs(ctx, build, jobs, logs, reasons)),
        coverage=mean_coverage(jobs),
        tests=await _load_tests(ctx, jobs),
    ).replace(killed_by=_to_killer(build, names))


async def get_build_coverage(ctx: Context, query: GetBuildCoverage) -> BuildCoverage:
    """Return the coverage of a build; None if no job has a coverage. Raises BUILD_NOT_FOUND."""
    build = await get_build(ctx, GetBuild(build_id=query.build_id))
    return BuildCoverage(percent=mean_coverage(await ctx.read_model(JobRow).find({"build_id": build.id})))


def _to_project(build: BuildRow) -> ProjectName:
    launched = build.project
    return ProjectName(
        id=build.project_id,
        name=build.project_name,
        owner_alias=launched.owner_alias if launched else "",
        alias=launched.alias if launched else "",
    )


def _to_killer(build: BuildRow, names: Mapping[int, str]) -> UserName | None:
    if build.killed_by_id is None:
        return None
    return UserName(id=build.killed_by_id, name=names.get(build.killed_by_id, build.killed_by or SYSTEM.name))


async def _load_logs(ctx: Context, build_id: int) -> dict[tuple[int, int], Document]:
    """Return the stored attempts by job id and number, without their log."""
    fields = {"job_id": 1, "number": 1, "sections": 1, "lines": 1, "length": 1}
    found = ctx.collection("attempts").find({"build_id": build_id}, fields)
    return {(attempt["job_id"], attempt["number"]): attempt async for attempt in found}


async def _load_tests(ctx: Context, jobs: Sequence[JobRow]) -> BuildTests | None:
    """Return the numbers of tests, or None if no job has uploaded a report."""
    attempts = {job.id: job.attempt for job in jobs if job.planned and job.planned.reports}
    found = await load_summaries(ctx, attempts) if attempts else {}
    return summarize([tests.replace(suites=()) for tests in found.values()]) if found else None


def _to_jobs(
    ctx: Context,
    build: BuildRow,
    jobs: Sequence[JobRow],
    logs: Mapping[tuple[int, int], Document],
    reasons: Mapping[int, str],
) -> list[JobOverview]:
    now = ctx.clock.database_time()
    queued = {
        job.id: _to_job(job, logs, reasons).replace(
            artifacts=tuple(artifact for artifact in job.artifacts if not is_expired(artifact, now))
        )
        for job in jobs
    }
    if not build.jobs:
        return list(queued.values())
    listed = [_to_pipeline_job(job, queued.get(job.job_id), build.jobs) for job in build.jobs]
    return sorted(listed, key=attrgetter("stage_index"))


def _to_job(job: JobRow, logs: Mapping[tuple[int, int], Document], reasons: Mapping[int, str]) -> JobOverview:
    attempts = (*job.earlier_attempts, job.current_attempt())
    return JobOverview(
        id=job.id,
        local_id=job.local_id,
        name=job.name,
        stage=job.stage,
        stage_index=0,
        status=job.status,
        tags=job.tags,
        image=job.image,
        timeout_seconds=job.timeout_seconds,
        attempt=job.attempt,
        runner=job.runner_name,
        exit_code=job.exit_code,
        exit_message=job.message,
        reason=job.reason,
        coverage=job.coverage,
        queued_at=job.queued_at,
        assigned_at=job.assigned_at,
        started_at=job.started_at,
        completed_at=job.finished_at,
        waiting_for=reasons.get(job.id),
        attempts=tuple(_to_attempt(attempt, logs.get((job.id, attempt.number))) for attempt in attempts),
    )


def _to_attempt(attempt: JobAttempt, log: Document | None) -> AttemptOverview:
    overview = AttemptOverview(**attempt.model_dump())
    if log is None:
        return overview
    return overview.replace(log_bytes=log["length"], steps=to_log_steps(log))


def to_log_steps(log: Document) -> tuple[LogStep, ...]:
    """Return the sections of an attempt's log with their numbers of complete lines."""
    counts = [*log["lines"], *([0] * (len(log["sections"]) - len(log["lines"])))]
    return tuple(
        LogStep(**Section.model_validate(section).model_dump(), index=index, lines=counts[index])
        for index, section in enumerate(log["sections"])
    )


def _to_pipeline_job(listed: BuildJobStatus, queued: JobOverview | None, jobs: Sequence[BuildJobStatus]) -> JobOverview:
    """Return a pipeline job. Its status comes from its own row while it is queued or running, else from the build."""
    job = queued or JobOverview(
        id=listed.job_id, local_id=None, name=listed.name, stage=listed.stage, stage_index=0, status=listed.status
    )
    changes = {} if queued and listed.status is JobStatus.QUEUED else {"status": listed.status}
    return job.replace(
        stage_index=listed.stage_place,
        when=listed.when,
        allow_failure=listed.allow_failure,
        needs=listed.needs,
        tags=listed.tags,
        waiting_for=job.waiting_for or _upstream_reason(listed, jobs),
        **changes,
    )


def _upstream_reason(listed: BuildJobStatus, jobs: Sequence[BuildJobStatus]) -> str | None:
    """Return what a job that is not queued yet waits for, as text."""
    if listed.status is JobStatus.MANUAL:
        return MANUAL_JOB_REASON
    if listed.status is not JobStatus.CREATED:
        return None
    upstream = [
        job.name
        for job in jobs
        if job.status in UNFINISHED_UPSTREAM
        and (job.stage_place < listed.stage_place if listed.needs is None else job.name in listed.needs)
    ]
    if not upstream:
        return None
    more = f" and {len(upstream) - MAX_NAMED_JOBS} more" if len(upstream) > MAX_NAMED_JOBS else ""
    return f"Waits for {', '.join(upstream[:MAX_NAMED_JOBS])}{more}."
