"""Projection of a job's events to its row, with the attempts before the current one."""

from contracts.builds import (
    Artifact,
    ArtifactRemoved,
    ArtifactUploaded,
    JobAssigned,
    JobAttempt,
    JobCanceling,
    JobDeleted,
    JobEvent,
    JobFinished,
    JobLost,
    JobPriorityChanged,
    JobQueued,
    JobRequirements,
    JobRetried,
    JobRow,
    JobStarted,
    JobStatus,
)
from libs.eventstore.decider import RecordedEvent
from services.builds.domain.job_graph import apply_allow_failure

LOST_STATUS = "LOST"  # status of an attempt; the job itself is queued again or has failed
MAX_EARLIER_ATTEMPTS = 20  # attempts in the row of a job, before the current one


def project_job(row: JobRow, recorded: RecordedEvent[JobEvent]) -> JobRow:
    match recorded.event:
        case JobQueued() as queued:
            return JobRow(
                id=queued.job_id,
                local_id=queued.job.local_id or queued.job_id,
                uuid=queued.job_uuid,
                build_id=queued.build_id,
                build_local_id=queued.build_local_id or queued.build_id,
                project_id=queued.project_id,
                owner_alias=queued.owner_alias,
                name=queued.job.name,
                stage=queued.job.stage,
                ref=queued.ref,
                sha=queued.sha,
                tags=queued.job.tags,
                protected=queued.protected,
                priority=queued.priority,
                demand=JobRequirements.from_job(queued.job.tags, queued.project, protected=queued.protected).key,
                attempt=queued.attempt,
                timeout_seconds=queued.job.timeout_seconds,
                queued_at=recorded.at,
                steps=queued.job.steps,
                image=queued.job.image,
                planned=queued.job if queued.job.is_pipeline_job else None,
                project=queued.project,
                delivery_id=queued.job.delivery_id,
                traceparent=row.traceparent or recorded.metadata.traceparent,
                earlier_attempts=row.earlier_attempts
                if row.finished_at is None
                else _with_attempt(row, row.current_attempt()),
            )
        case JobAssigned() as assigned:
            return row.replace(
                status=JobStatus.ASSIGNED,
                demand="",
                runner_id=assigned.runner_id,
                runner_uuid=assigned.runner_uuid,
                runner_name=assigned.runner_name,
                token_hash=assigned.token_hash,
                assigned_at=recorded.at,
            )
        case JobStarted(since_assignment=since_assignment):
            started_at = row.assigned_at if since_assignment else recorded.at
            return row.replace(status=JobStatus.RUNNING, started_at=started_at)
        case JobCanceling():
            return row.replace(status=JobStatus.CANCELING, canceling_at=recorded.at)
        case JobFinished() as finished:
            planned = row.planned
            return row.replace(
                status=apply_allow_failure(planned, finished.status, finished.exit_code)
                if planned
                else finished.status,
                demand="",
                exit_code=finished.exit_code,
                reason=finished.reason,
                message=finished.message,
                coverage=finished.coverage,
                finished_at=recorded.at,
                listed_at=recorded.at,
            )
        case ArtifactUploaded() as uploaded:
            artifact = Artifact(
                id=uploaded.artifact_id,
                artifact_type=uploaded.artifact_type,
                artifact_format=uploaded.artifact_format,
                file_name=uploaded.file_name,
                size=uploaded.size,
                uploaded_at=recorded.at,
                expire_at=uploaded.expire_at,
            )
            return row.replace(artifacts=(*row.artifacts, artifact))
        case ArtifactRemoved(artifact_id=artifact_id):
            return row.replace(artifacts=tuple(artifact for artifact in row.artifacts if artifact.id != artifact_id))
        case JobPriorityChanged(priority=priority):
            return row.replace(priority=priority)
        case JobLost(retried=False) | JobLost(delivered=False):
            return row  # JobFinished follows, or no runner has received the attempt
        case JobLost(reason=reason):
            lost = row.current_attempt().replace(status=LOST_STATUS, reason=reason, completed_at=recorded.at)
            return row.replace(earlier_attempts=_with_attempt(row, lost))
        case JobRetried() as retried:
            failed = row.current_attempt().replace(
                status=JobStatus.FAILED,
                completed_at=recorded.at,
                exit_code=retried.exit_code,
                reason=retried.reason,
                message=retried.message,
            )
            return row.replace(earlier_attempts=_with_attempt(row, failed))
        case JobDeleted():
            return JobRow()
        case _:
            return row  # the progress of steps is read from the log


def _with_attempt(row: JobRow, attempt: JobAttempt) -> tuple[JobAttempt, ...]:
    return (*row.earlier_attempts, attempt)[-MAX_EARLIER_ATTEMPTS:]


def hide_warning(row: JobRow) -> JobRow:
    """Return the row for replicas of release 0.2.0, which do not know the status WARNING."""
    return row.replace(status=JobStatus.FAILED) if row.status is JobStatus.WARNING else row
