"""Decider of a job: queued, assigned to a runner, run in steps, and finished, or lost and tried again."""

from collections.abc import Sequence

from contracts.builds import (
    FINISHED_JOB_STATUSES,
    JobAssigned,
    JobCanceling,
    JobDeleted,
    JobEvent,
    JobPriorityChanged,
    JobQueued,
    JobRetried,
    JobStatus,
)
from contracts.errors import RequestRejected
from libs.eventstore.decider import Decider
from services.builds.domain.internal_commands import (
    AssignJob,
    CancelJob,
    ChangeJobPriority,
    DeleteJob,
    FinishJob,
    MarkJobLost,
    QueueJob,
    RecordArtifact,
    RecordSteps,
    RemoveArtifact,
    StartJob,
)
from services.builds.domain.job_events import (
    LOST_EXIT_CODE,
    canceled_event,
    duration_ms_of_steps,
    finished_event,
    ids_of,
    lost_event,
    new_step_events,
    queued_event,
    removed_event,
    runner_fields,
    started_event,
    uploaded_events,
)
from services.builds.domain.job_state import Job, evolve

# Headrace's failure reason -> its name in `retry: when`
RETRY_REASONS = {"runner_lost": "runner_system_failure", "": "unknown_failure"}

WITH_RUNNER = (JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING)

JobCommand = (
    QueueJob
    | AssignJob
    | StartJob
    | RecordSteps
    | FinishJob
    | CancelJob
    | MarkJobLost
    | ChangeJobPriority
    | DeleteJob
    | RecordArtifact
    | RemoveArtifact
)


def decide(job: Job, command: JobCommand) -> Sequence[JobEvent]:
    """Return the events that a command causes. Raises JOB_NOT_FOUND, JOB_STATUS and CONFLICT."""
    if isinstance(command, QueueJob):
        return _queue_or_rerun(job, command)
    if isinstance(command, CancelJob | ChangeJobPriority) and job.queued is None:
        raise _just_being_queued()
    spec = job.spec
    if isinstance(command, CancelJob | ChangeJobPriority) and command.round is not None and not job.deleted:
        if command.round > spec.job.round:
            raise _just_being_queued()
        if command.round < spec.job.round:
            return []  # the round has ended, and the present one was queued with the priority that the build had then
    steps: list[JobEvent] = []
    if isinstance(command, FinishJob | MarkJobLost) and job.status in WITH_RUNNER and command.attempt == spec.attempt:
        steps += new_step_events(job, spec, command.steps)
    return [*steps, *_decide_in_status(job, spec, command)]


def _decide_in_status(job: Job, spec: JobQueued, command: JobCommand) -> Sequence[JobEvent]:
    ids = ids_of(spec)
    match job.status, command:
        case JobStatus.QUEUED, AssignJob(attempt=spec.attempt):
            return [
                JobAssigned(
                    **ids,
                    attempt=spec.attempt,
                    runner_id=command.runner_id,
                    runner_uuid=command.runner_uuid,
                    runner_name=command.runner_name,
                    token_hash=command.token_hash,
                    cancels_gracefully=command.cancels_gracefully,
                    reports_late=command.reports_late,
                    round=spec.job.round,
                )
            ]
        case JobStatus.ASSIGNED, StartJob(attempt=spec.attempt):
            return [started_event(job)]
        case ((JobStatus.RUNNING | JobStatus.CANCELING), StartJob(attempt=spec.attempt)):
            return []
        case (
            (JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING),
            RecordSteps(attempt=spec.attempt, steps=steps),
        ):
            return list(new_step_events(job, spec, steps))
        case _, RecordArtifact(artifact=artifact) if artifact.id in job.artifacts.values():
            return []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), RecordArtifact(attempt=spec.attempt)):
            return uploaded_events(job, command)
        case _, RemoveArtifact(artifact_id=id_, reason=reason):
            # a deleted job has no artifacts: its deletion removes their content
            return [removed_event(job, id_, reason)] if id_ in job.artifacts.values() and not job.deleted else []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=spec.attempt)) if _should_retry(job, command):
            retried = JobRetried(
                **ids,
                attempt=spec.attempt,
                exit_code=command.exit_code,
                reason=command.reason,
                message=command.message,
                runner_uuid=job.runner_uuid,
                runner_name=job.runner_name,
                duration_ms=duration_ms_of_steps(command.steps),
            )
            return [retried, *_next_attempt(job, spec)]
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=spec.attempt)):
            result = finished_event(
                job, command.status, command.exit_code, command.reason, command.message, command.output
            )
            return [result.replace(duration_ms=duration_ms_of_steps(command.steps), coverage=command.coverage)]
        case status, FinishJob(attempt=spec.attempt, status=reported) if status is reported:
            return []  # the runner repeats a report that was not acknowledged
        case JobStatus.RUNNING, CancelJob(graceful=True) if _can_clean_up(job):
            return [JobCanceling(**ids, attempt=spec.attempt, **runner_fields(job))]
        case JobStatus.ASSIGNED, CancelJob(graceful=True) if job.reports_late and _can_clean_up(job):
            # the script may be running: this runner does not report the start of a job
            return [started_event(job), JobCanceling(**ids, attempt=spec.attempt, **runner_fields(job))]
        case JobStatus.CANCELING, CancelJob(graceful=True):
            return []
        case ((JobStatus.QUEUED | JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), CancelJob()):
            return [canceled_event(job)]
        case JobStatus.CANCELING, FinishJob(attempt=spec.attempt):
            return [canceled_event(job)]  # canceled, whatever the runner reports
        case JobStatus.CANCELING, MarkJobLost(attempt=spec.attempt, reason=reason, delivered=True):
            return [lost_event(job, reason, retried=False), canceled_event(job)]
        case JobStatus.ASSIGNED, MarkJobLost(attempt=spec.attempt, reason=reason, delivered=False):
            return [lost_event(job, reason, retried=True).replace(delivered=False), *_next_attempt(job, spec)]
        case (
            (JobStatus.ASSIGNED | JobStatus.RUNNING),
            MarkJobLost(attempt=spec.attempt, reason=reason, delivered=True),
        ):
            return _on_runner_lost(job, spec, reason)
        case status, ChangeJobPriority(priority=priority, build_version=version):
            # the version is recorded even if the priority is the same: a late command must not replace it
            is_effective = status not in FINISHED_JOB_STATUSES and version > job.priority_version
            return [JobPriorityChanged(**ids, priority=priority, build_version=version)] if is_effective else []
        case status, CancelJob() if status in FINISHED_JOB_STATUSES:
            return []
        case _, DeleteJob() if job.deleted:
            return []
        case status, DeleteJob():
            finished = [] if status in FINISHED_JOB_STATUSES else [canceled_event(job)]
            return [*finished, JobDeleted(**ids)]
        case _, MarkJobLost():
            return []  # the job has ended, or another attempt is running
        case status, _:
            raise RequestRejected("JOB_STATUS", f"{command.wire_name} while {status}, attempt {spec.attempt}")


def _can_clean_up(job: Job) -> bool:
    return job.cancels_gracefully and job.spec.job.has_cleanup


def _just_being_queued() -> RequestRejected:
    """Return the error that makes the sender try again."""
    return RequestRejected("CONFLICT", "the job is just being queued")


def _queue_or_rerun(job: Job, command: QueueJob) -> list[JobEvent]:
    """Queue the job, or its next round. An unfinished round is canceled: its build was killed and then resumed."""
    if job.queued is None:
        return [queued_event(command)]
    if job.deleted or command.job.round <= job.queued.job.round:
        return []
    canceled = [] if job.status in FINISHED_JOB_STATUSES else [canceled_event(job)]
    return [*canceled, *_next_attempt(job, queued_event(command).replace(attempt=job.queued.attempt))]


def _should_retry(job: Job, command: FinishJob) -> bool:
    planned = job.spec.job
    if command.status is not JobStatus.FAILED or job.retried_failures >= planned.retries:
        return False
    if not (planned.retry_when or planned.retry_codes):
        return True
    reason = RETRY_REASONS.get(command.reason, command.reason)
    return reason in planned.retry_when or command.exit_code in planned.retry_codes


def _next_attempt(job: Job, spec: JobQueued) -> list[JobEvent]:
    """Remove the artifacts of the last attempt and queue the job again."""
    removed = [removed_event(job, artifact_id, "retried") for artifact_id in job.artifacts.values()]
    return [*removed, spec.replace(attempt=spec.attempt + 1)]


def _on_runner_lost(job: Job, spec: JobQueued, reason: str) -> list[JobEvent]:
    losses = job.runner_losses + 1
    retried = losses < spec.job.max_attempts
    lost = lost_event(job, reason, retried=retried)
    if retried:
        return [lost, *_next_attempt(job, spec)]
    message = f"The runner was lost, {'once' if losses == 1 else f'{losses} times'}: {reason}"
    return [lost, finished_event(job, JobStatus.FAILED, LOST_EXIT_CODE, "runner_lost", message, None)]


job_decider = Decider[JobCommand, Job, JobEvent](
    commands=(
        QueueJob,
        AssignJob,
        StartJob,
        RecordSteps,
        FinishJob,
        CancelJob,
        MarkJobLost,
        ChangeJobPriority,
        DeleteJob,
        RecordArtifact,
        RemoveArtifact,
    ),
    stream=lambda command: f"job-{command.job_id}",
    initial=Job(),
    decide=decide,
    evolve=evolve,
    new_document=lambda command: command.attempt_document if isinstance(command, AssignJob) else None,
    initial_commands=(QueueJob,),
)
