"""Events of a build, created from its state and the command."""

from collections.abc import Mapping, Sequence

from contracts.builds import (
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildStatus,
    JobStatus,
    JobStatusChange,
)
from contracts.errors import RequestRejected
from services.builds.domain.build_state import Build, Phase, round_to_seconds
from services.builds.domain.internal_commands import LaunchBuild, PlanBuild
from services.builds.domain.job_graph import (
    CREATED,
    MANUAL,
    SKIPPED,
    JobGraph,
)
from services.builds.domain.protected_refs import is_protected_ref

KILLED_EXIT_CODE, KILLED_MESSAGE = 143, "Deployment aborted by user"


def queued_event(command: LaunchBuild) -> BuildQueued:
    project = command.project
    return BuildQueued(
        build_id=command.build_id,
        executor_id=command.executor_id,
        project_id=command.project_id,
        project=project,
        ignore_steps=command.ignore_steps,
        sha=command.sha,
        ref=command.ref,
        delivery_id=command.delivery_id,
        queued_at=command.queued_at,
        initiator_id=command.initiator_id,
        timeout_seconds=command.timeout_seconds,
        max_attempts=command.max_attempts,
        needs_lane=not project.allow_concurrent_execution,
        local_id=command.local_id,
        before_sha=command.before_sha,
        source=command.source,
        variables=command.variables,
        schedule=command.schedule,
        supersedes=command.supersedes,
        pull_request=command.pull_request,
    )


def planned_event(build: Build, command: PlanBuild) -> BuildPlanned:
    queued = build.launch
    return BuildPlanned(
        build_id=queued.build_id,
        project_id=queued.project_id,
        project=queued.project,
        sha=command.sha,
        ref=command.ref,
        protected=is_protected_ref(command.ref, queued.project.protected_branches),
        available_steps=command.available_steps,
        jobs=command.jobs,
        local_id=queued.local_id,
        priority=build.priority,
        warnings=command.warnings,
        default_branch=command.default_branch,
        message=command.message,
        served_by_hash=command.served_by_hash,
    )


def priority_changed_event(build: Build, priority: int) -> BuildPriorityChanged:
    queued, job_ids = build.launch, build.graph.queued
    return BuildPriorityChanged(
        build_id=queued.build_id,
        project_id=queued.project_id,
        priority=priority,
        job_ids=job_ids,
        job_rounds=tuple(build.graph.jobs[job_id].round for job_id in job_ids),
    )


def advanced_event(build: Build, graph: JobGraph, ended: Mapping[int, JobStatus]) -> BuildJobsChanged:
    """Return the event that changes the build's job graph to `graph`. `ended`: new results by job id.

    Raises BUILD_STATUS if the build could not be planned.
    """
    planned = build.planned
    if planned is None:
        raise RequestRejected("BUILD_STATUS", "the build could not be planned")
    changed = {
        job_id: status for job_id, status in graph.statuses.items() if status is not build.graph.statuses[job_id]
    }
    return BuildJobsChanged(
        build_id=planned.build_id,
        project_id=planned.project_id,
        project=planned.project,
        sha=planned.sha,
        ref=planned.ref,
        protected=planned.protected,
        local_id=planned.local_id,
        priority=build.priority,
        ended=_status_changes(ended),
        released=tuple(
            graph.jobs[job_id].replace(round=graph.jobs[job_id].round + (job_id in build.ever_queued))
            for job_id, status in changed.items()
            if status is JobStatus.QUEUED
        ),
        waiting=_status_changes(
            {job_id: status for job_id, status in changed.items() if status in (CREATED, MANUAL, SKIPPED)}
        ),
    )


def _status_changes(statuses: Mapping[int, JobStatus]) -> tuple[JobStatusChange, ...]:
    return tuple(JobStatusChange(job_id=job_id, status=status) for job_id, status in statuses.items())


def finished_by_jobs_event(
    build: Build, graph: JobGraph, failures: Sequence[BuildJobsChanged], milliseconds: int
) -> BuildFinished:
    """Return the event that finishes the build, with the exit code and message of the first failed job.

    An immediate kill cancels jobs without adding them to `failures`. If such a job was not run again and `failures` is
    empty, the build fails with KILLED_EXIT_CODE.
    """
    warnings = build.planned.warnings if build.planned else ()
    allowed = [graph.jobs[job_id].name for job_id, status in graph.statuses.items() if status is JobStatus.WARNING]
    lines = [*warnings, *(f"The job {name} failed, which is allowed." for name in allowed)]
    status, code, message = BuildStatus.SUCCESS, 0, None
    if failures:
        status, code, message = BuildStatus.FAILED, failures[0].exit_code, failures[0].exit_message
        lines += filter(None, [failures[0].output])
    elif graph.has_failed:
        status, code, message = BuildStatus.FAILED, KILLED_EXIT_CODE, KILLED_MESSAGE
    return finished_event(build, status, code, message, "\n".join(lines) or None, milliseconds)


def killed_event(build: Build, *, graceful: bool) -> BuildKilled:
    queued = build.launch
    job_ids = build.graph.queued
    return BuildKilled(
        build_id=queued.build_id,
        project_id=queued.project_id,
        job_ids=job_ids,
        graceful=graceful,
        job_rounds=tuple(build.graph.jobs[job_id].round for job_id in job_ids),
    )


def finished_by_kill_event(build: Build, milliseconds: int) -> BuildFinished:
    newer = build.superseded_by
    message = KILLED_MESSAGE if newer is None else f"Superseded by build {newer}"
    output = f"The build ended with exit code {KILLED_EXIT_CODE}: {message}"
    return finished_event(build, BuildStatus.KILLED, KILLED_EXIT_CODE, message, output, milliseconds)


def finished_event(
    build: Build, status: BuildStatus, code: int, message: str | None, output: str | None, milliseconds: int = 0
) -> BuildFinished:
    """Return the event that finishes the build. `milliseconds` is the total duration of the build.

    The event contains only the duration since the last BuildFinished event, which a resumed build has.
    """
    queued = build.launch
    duration_ms = max(0, milliseconds - build.duration_ms)
    return BuildFinished(
        build_id=queued.build_id,
        executor_id=queued.executor_id,
        project_id=queued.project_id,
        project_name=queued.project.name,
        status=status,
        exit_code=code,
        exit_message=message,
        output=output,
        queued_at=queued.queued_at,
        initiator_id=queued.initiator_id,
        held_lane=queued.needs_lane,
        keep_number_build=queued.project.keep_number_build,
        duration=round_to_seconds(duration_ms),
        duration_ms=duration_ms or None,
        ran=build.was_started or status is not BuildStatus.KILLED or build.phase not in (Phase.QUEUED, Phase.PLANNED),
    )
