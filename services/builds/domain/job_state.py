"""State of a job and how its events change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from contracts.builds import (
    ArtifactRemoved,
    ArtifactUploaded,
    JobAssigned,
    JobCanceling,
    JobDeleted,
    JobEvent,
    JobFinished,
    JobLost,
    JobPriorityChanged,
    JobQueued,
    JobRetried,
    JobStarted,
    JobStatus,
    StepFinished,
    StepStarted,
)
from contracts.errors import RequestRejected


@dataclass(frozen=True, slots=True)
class Job:
    """State of a job: only what `decide` needs. The read model is in projections.py."""

    status: JobStatus | None = None
    queued: JobQueued | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    cancels_gracefully: bool = False
    reports_late: bool = False
    started_steps: frozenset[str] = frozenset()  # steps of the current attempt
    finished_steps: frozenset[str] = frozenset()
    artifacts: Mapping[str, str] = field(default_factory=dict)  # artifact type -> artifact id
    deleted: bool = False
    runner_losses: int = 0  # lost runners since a user or the build queued the job
    retried_failures: int = 0  # failed attempts that were retried since a user or the build queued the job
    priority_version: int = 0  # version of the build at the last change of this round's priority; 0: none, or unknown
    has_failed: bool = False  # an attempt has failed or lost its runner since the job last passed

    @property
    def spec(self) -> JobQueued:
        """The event that queued the current attempt. Raises JOB_NOT_FOUND if the job was not queued."""
        if self.queued is None:
            raise RequestRejected("JOB_NOT_FOUND")
        return self.queued


def evolve(job: Job, event: JobEvent) -> Job:
    match event:
        case JobQueued():
            queued_job = Job(status=JobStatus.QUEUED, queued=event, has_failed=job.has_failed)
            if job.queued is None or job.queued.job.round != event.job.round:
                return queued_job
            return replace(
                queued_job,
                runner_losses=job.runner_losses,
                retried_failures=job.retried_failures,
                priority_version=job.priority_version,
            )
        case JobAssigned():
            return replace(
                job,
                status=JobStatus.ASSIGNED,
                runner_uuid=event.runner_uuid,
                runner_name=event.runner_name,
                cancels_gracefully=event.cancels_gracefully,
                reports_late=event.reports_late,
            )
        case JobStarted():
            return replace(job, status=JobStatus.RUNNING)
        case StepStarted(step=step):
            return replace(job, started_steps=job.started_steps | {step})
        case StepFinished(step=step):
            return replace(job, finished_steps=job.finished_steps | {step})
        case JobCanceling():
            return replace(job, status=JobStatus.CANCELING)
        case JobFinished(status=status):
            is_failure = job.has_failed if status is JobStatus.CANCELED else status is JobStatus.FAILED
            return replace(job, status=status, has_failed=is_failure)
        case JobLost(delivered=delivered):
            has_failed = job.has_failed or delivered
            return replace(job, runner_losses=job.runner_losses + delivered, has_failed=has_failed)
        case JobRetried():
            return replace(job, retried_failures=job.retried_failures + 1, has_failed=True)
        case ArtifactUploaded(artifact_type=type_, artifact_id=id_):
            return replace(job, artifacts={**job.artifacts, type_: id_})
        case ArtifactRemoved(artifact_id=id_):
            return replace(job, artifacts={type_: kept for type_, kept in job.artifacts.items() if kept != id_})
        case JobPriorityChanged(priority=priority, build_version=version):
            return replace(job, queued=job.spec.replace(priority=priority), priority_version=version)
        case JobDeleted():
            return replace(job, deleted=True)
        case _:
            assert_never(event)
