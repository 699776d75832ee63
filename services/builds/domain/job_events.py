"""Events of a job, created from its state and the command."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypedDict

from contracts.builds import (
    ArtifactRemoved,
    ArtifactUploaded,
    JobEvent,
    JobFinished,
    JobLost,
    JobQueued,
    JobStarted,
    JobStatus,
    Section,
    StepFinished,
    StepStarted,
)
from services.builds.domain.internal_commands import QueueJob, RecordArtifact
from services.builds.domain.job_state import Job

LOST_EXIT_CODE = -2
CANCELED_EXIT_CODE = 143


class JobIds(TypedDict):
    """Fields that most events of a job share."""

    job_id: int
    build_id: int
    project_id: int
    job_name: str
    stage: str
    project_name: str


class RunnerFields(TypedDict):
    runner_uuid: str
    runner_name: str


def ids_of(spec: JobQueued) -> JobIds:
    return {
        "job_id": spec.job_id,
        "build_id": spec.build_id,
        "project_id": spec.project_id,
        "job_name": spec.job.name,
        "stage": spec.job.stage,
        "project_name": spec.project.name,
    }


def runner_fields(job: Job) -> RunnerFields:
    return {"runner_uuid": job.runner_uuid or "", "runner_name": job.runner_name or ""}


def started_event(job: Job) -> JobStarted:
    spec = job.spec
    return JobStarted(**ids_of(spec), attempt=spec.attempt, **runner_fields(job), since_assignment=job.reports_late)


def queued_event(command: QueueJob) -> JobQueued:
    return JobQueued(
        job_id=command.job_id,
        job_uuid=command.job.job_uuid,
        build_id=command.build_id,
        project_id=command.project.project_id,
        owner_alias=command.project.owner_alias,
        attempt=1,
        ref=command.ref,
        sha=command.sha,
        protected=command.protected,
        build_local_id=command.build_local_id,
        priority=command.priority,
        project=command.project,
        job=command.job,
    )


def new_step_events(job: Job, spec: JobQueued, steps: Sequence[Section]) -> Iterator[JobEvent]:
    """Yield events for the step changes in the log that the stream has not recorded yet."""
    ids = {
        "job_id": spec.job_id,
        "build_id": spec.build_id,
        "project_id": spec.project_id,
        "attempt": spec.attempt,
    }
    for section in steps:
        if section.step not in job.started_steps:
            yield StepStarted(**ids, step=section.step, started_at=section.start_at)
        if section.closed_at is not None and section.success is not None and section.step not in job.finished_steps:
            yield StepFinished(
                **ids,
                step=section.step,
                finished_at=section.closed_at,
                success=section.success,
                skipped=bool(section.skipped),
                timed_out=section.timed_out,
            )


def uploaded_events(job: Job, command: RecordArtifact) -> list[JobEvent]:
    """Return the events that record an artifact and remove an earlier artifact of the same type."""
    spec, artifact = job.spec, command.artifact
    replaced = job.artifacts.get(artifact.artifact_type)
    uploaded = ArtifactUploaded(
        job_id=spec.job_id,
        build_id=spec.build_id,
        project_id=spec.project_id,
        attempt=spec.attempt,
        artifact_id=artifact.id,
        artifact_type=artifact.artifact_type,
        artifact_format=artifact.artifact_format,
        file_name=artifact.file_name,
        size=artifact.size,
        expire_at=artifact.expire_at,
    )
    return [*([removed_event(job, replaced, "replaced")] if replaced else []), uploaded]


def removed_event(job: Job, artifact_id: str, reason: str) -> ArtifactRemoved:
    spec = job.spec
    return ArtifactRemoved(
        job_id=spec.job_id,
        build_id=spec.build_id,
        project_id=spec.project_id,
        artifact_id=artifact_id,
        reason=reason,
    )


def finished_event(
    job: Job, status: JobStatus, exit_code: int, reason: str, message: str | None, output: str | None
) -> JobFinished:
    return JobFinished(
        **ids_of(job.spec),
        attempt=job.spec.attempt,
        status=status,
        exit_code=exit_code,
        reason=reason,
        message=message,
        output=output,
        runner_uuid=job.runner_uuid,
        runner_name=job.runner_name,
        round=job.spec.job.round,
        recovered=status is JobStatus.SUCCESS and job.has_failed,
    )


def canceled_event(job: Job) -> JobFinished:
    return finished_event(job, JobStatus.CANCELED, CANCELED_EXIT_CODE, "canceled", "Deployment aborted by user", None)


def lost_event(job: Job, reason: str, *, retried: bool) -> JobLost:
    return JobLost(**ids_of(job.spec), attempt=job.spec.attempt, **runner_fields(job), reason=reason, retried=retried)


def duration_ms_of_steps(steps: Sequence[Section]) -> int | None:
    """Return the total duration of the closed sections of a log, in milliseconds. None: there are none."""
    closed = [(section.start_at, section.closed_at) for section in steps]
    durations = [max(end - start, timedelta()) for start, end in closed if start and end]
    return sum(durations, timedelta()) // timedelta(milliseconds=1) if durations else None
