"""A job: offered, given to one runner, run in steps, finished or lost and tried again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from contracts.builds import (
    FINISHED_JOB_STATUSES,
    ArtifactRemoved,
    ArtifactUploaded,
    AssignJob,
    CancelJob,
    ChangeJobPriority,
    DeleteJob,
    FinishJob,
    JobAssigned,
    JobCanceling,
    JobCommand,
    JobDeleted,
    JobEvent,
    JobFinished,
    JobLost,
    JobPriorityChanged,
    JobQueued,
    JobRetried,
    JobStarted,
    JobStatus,
    MarkJobLost,
    QueueJob,
    RecordArtifact,
    RecordSteps,
    RemoveArtifact,
    Section,
    StartJob,
    StepFinished,
    StepStarted,
)
from contracts.errors import RequestRejected
from libs.eventstore.decider import Decider

LOST_EXIT_CODE = -2
CANCELED_EXIT_CODE = 143
RETRY_REASONS = {"runner_lost": "runner_system_failure", "": "unknown_failure"}  # reasons as spec files name them


@dataclass(frozen=True, slots=True)
class Job:
    status: JobStatus | None = None
    queued: JobQueued | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    cancels_gracefully: bool = False
    reports_late: bool = False
    started_steps: frozenset[str] = frozenset()  # steps of this attempt
    finished_steps: frozenset[str] = frozenset()
    artifacts: Mapping[str, str] = field(default_factory=dict)  # type -> id
    deleted: bool = False
    runner_losses: int = 0  # of runners, since somebody wished the job
    retried_failures: int = 0  # that led to another attempt, since then

    @property
    def spec(self) -> JobQueued:
        if self.queued is None:
            raise RequestRejected("JOB_NOT_FOUND")
        return self.queued


def decide(job: Job, command: JobCommand) -> Sequence[JobEvent]:
    if isinstance(command, QueueJob):
        return _queue_or_rerun(job, command)
    if isinstance(command, CancelJob | ChangeJobPriority) and job.queued is None:
        raise RequestRejected("CONFLICT", "the job is just being queued")  # to be told again: it must not be forgotten
    order = job.spec
    here = _ids(order)
    if isinstance(command, FinishJob | MarkJobLost) and command.steps:
        shown = RecordSteps(job_id=command.job_id, attempt=command.attempt, steps=command.steps)
        return [*decide(job, shown), *decide(job, command.replace(steps=()))]  # steps have no say in how it goes on
    match job.status, command:
        case JobStatus.QUEUED, AssignJob(attempt=order.attempt):
            return [
                JobAssigned(
                    **here,
                    attempt=order.attempt,
                    runner_id=command.runner_id,
                    runner_uuid=command.runner_uuid,
                    runner_name=command.runner_name,
                    token_hash=command.token_hash,
                    cancels_gracefully=command.cancels_gracefully,
                    reports_late=command.reports_late,
                )
            ]
        case JobStatus.ASSIGNED, StartJob(attempt=order.attempt):
            return [_started_event(job)]
        case ((JobStatus.RUNNING | JobStatus.CANCELING), StartJob(attempt=order.attempt)):
            return []
        case (
            (JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING),
            RecordSteps(attempt=order.attempt, steps=steps),
        ):
            return list(_new_step_events(job, order, steps))
        case _, RecordArtifact(artifact=artifact) if artifact.id in job.artifacts.values():
            return []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), RecordArtifact(attempt=order.attempt)):
            return _uploaded_events(job, command)
        case _, RemoveArtifact(artifact_id=id_, reason=reason):
            return [_removed_event(job, id_, reason)] if id_ in job.artifacts.values() else []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=order.attempt)) if _should_retry(
            job, command
        ):
            retried = JobRetried(
                **here,
                attempt=order.attempt,
                exit_code=command.exit_code,
                reason=command.reason,
                message=command.message,
                runner_uuid=job.runner_uuid,
                runner_name=job.runner_name,
            )
            return [retried, *_next_attempt(job, order)]
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=order.attempt)):
            return [
                _finished_event(job, command.status, command.exit_code, command.reason, command.message, command.output)
            ]
        case status, FinishJob(attempt=order.attempt, status=wanted) if status is wanted:
            return []  # a runner repeats what was not acknowledged
        case JobStatus.RUNNING, CancelJob(graceful=True) if _can_clean_up(job):
            return [JobCanceling(**here, attempt=order.attempt, **_runner_fields(job))]
        case JobStatus.ASSIGNED, CancelJob(graceful=True) if job.reports_late and _can_clean_up(job):
            # the script may run already; a runner that reports first would drop the job without running it
            return [_started_event(job), JobCanceling(**here, attempt=order.attempt, **_runner_fields(job))]
        case JobStatus.CANCELING, CancelJob(graceful=True):
            return []
        case ((JobStatus.QUEUED | JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), CancelJob()):
            return [_canceled_event(job)]
        case JobStatus.CANCELING, FinishJob(attempt=order.attempt):
            return [_canceled_event(job)]  # whatever its runner says
        case JobStatus.CANCELING, MarkJobLost(attempt=order.attempt, reason=reason, delivered=True):
            return [_lost_event(job, reason, retried=False), _canceled_event(job)]
        case JobStatus.ASSIGNED, MarkJobLost(attempt=order.attempt, reason=reason, delivered=False):
            return [_lost_event(job, reason, retried=True).replace(delivered=False), *_next_attempt(job, order)]
        case (
            (JobStatus.ASSIGNED | JobStatus.RUNNING),
            MarkJobLost(attempt=order.attempt, reason=reason, delivered=True),
        ):
            return _on_runner_lost(job, order, reason)
        case status, ChangeJobPriority(priority=priority):
            stays = status in FINISHED_JOB_STATUSES or priority == order.priority
            return [] if stays else [JobPriorityChanged(**here, priority=priority)]
        case status, CancelJob() if status in FINISHED_JOB_STATUSES:
            return []
        case _, DeleteJob() if job.deleted:
            return []
        case status, DeleteJob():
            end = [] if status in FINISHED_JOB_STATUSES else [_canceled_event(job)]
            return [*end, JobDeleted(**here)]
        case _, MarkJobLost():
            return []  # it was heard of after all, or another attempt runs
        case status, _:
            raise RequestRejected("JOB_STATUS", f"{command.wire_name} while {status}, attempt {order.attempt}")


def _ids(spec: JobQueued) -> dict[str, Any]:
    return {
        "job_id": spec.job_id,
        "build_id": spec.build_id,
        "project_id": spec.project_id,
        "job_name": spec.job.name,
        "stage": spec.job.stage,
        "project_name": spec.project.name,
    }


def _runner_fields(job: Job) -> dict[str, str]:
    return {"runner_uuid": job.runner_uuid or "", "runner_name": job.runner_name or ""}


def _started_event(job: Job) -> JobStarted:
    order = job.spec
    return JobStarted(**_ids(order), attempt=order.attempt, **_runner_fields(job), since_assignment=job.reports_late)


def _can_clean_up(job: Job) -> bool:
    return job.cancels_gracefully and job.spec.job.has_cleanup


def _queue_or_rerun(job: Job, command: QueueJob) -> list[JobEvent]:
    if job.queued is None:
        return [_queued_event(command)]
    if job.deleted or job.status not in FINISHED_JOB_STATUSES or command.job.round <= job.queued.job.round:
        return []
    return _next_attempt(job, _queued_event(command).replace(attempt=job.queued.attempt))


def _should_retry(job: Job, command: FinishJob) -> bool:
    wanted = job.spec.job
    if command.status is not JobStatus.FAILED or job.retried_failures >= wanted.retries:
        return False
    if not (wanted.retry_when or wanted.retry_codes):
        return True
    reason = RETRY_REASONS.get(command.reason, command.reason)
    return reason in wanted.retry_when or command.exit_code in wanted.retry_codes


def _queued_event(command: QueueJob) -> JobQueued:
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


def _new_step_events(job: Job, spec: JobQueued, steps: Sequence[Section]) -> Iterator[JobEvent]:
    """What the log shows of the steps and the stream does not know yet."""
    here = {
        "job_id": spec.job_id,
        "build_id": spec.build_id,
        "project_id": spec.project_id,
        "attempt": spec.attempt,
    }
    for one in steps:
        if one.step not in job.started_steps:
            yield StepStarted(**here, step=one.step, started_at=one.start_at)
        if one.closed_at is not None and one.success is not None and one.step not in job.finished_steps:
            yield StepFinished(
                **here,
                step=one.step,
                finished_at=one.closed_at,
                success=one.success,
                skipped=bool(one.skipped),
                timed_out=one.timed_out,
            )


def _uploaded_events(job: Job, command: RecordArtifact) -> list[JobEvent]:
    """It takes the place of what was there."""
    order, artifact = job.spec, command.artifact
    former = job.artifacts.get(artifact.artifact_type)
    uploaded = ArtifactUploaded(
        job_id=order.job_id,
        build_id=order.build_id,
        project_id=order.project_id,
        attempt=order.attempt,
        artifact_id=artifact.id,
        artifact_type=artifact.artifact_type,
        artifact_format=artifact.artifact_format,
        file_name=artifact.file_name,
        size=artifact.size,
        expire_at=artifact.expire_at,
    )
    return [*([_removed_event(job, former, "replaced")] if former else []), uploaded]


def _removed_event(job: Job, artifact_id: str, reason: str) -> ArtifactRemoved:
    order = job.spec
    return ArtifactRemoved(
        job_id=order.job_id,
        build_id=order.build_id,
        project_id=order.project_id,
        artifact_id=artifact_id,
        reason=reason,
    )


def _next_attempt(job: Job, spec: JobQueued) -> list[JobEvent]:
    """The next attempt begins with nothing."""
    cleared = [_removed_event(job, artifact_id, "retried") for artifact_id in job.artifacts.values()]
    return [*cleared, spec.replace(attempt=spec.attempt + 1)]


def _finished_event(
    job: Job, status: JobStatus, exit_code: int, reason: str, message: str | None, output: str | None
) -> JobFinished:
    return JobFinished(
        **_ids(job.spec),
        attempt=job.spec.attempt,
        status=status,
        exit_code=exit_code,
        reason=reason,
        message=message,
        output=output,
        runner_uuid=job.runner_uuid,
        runner_name=job.runner_name,
    )


def _canceled_event(job: Job) -> JobFinished:
    return _finished_event(job, JobStatus.CANCELED, CANCELED_EXIT_CODE, "canceled", "Deployment aborted by user", None)


def _lost_event(job: Job, reason: str, *, retried: bool) -> JobLost:
    return JobLost(**_ids(job.spec), attempt=job.spec.attempt, **_runner_fields(job), reason=reason, retried=retried)


def _on_runner_lost(job: Job, spec: JobQueued, reason: str) -> list[JobEvent]:
    times = job.runner_losses + 1
    again = times < spec.job.max_attempts
    lost = _lost_event(job, reason, retried=again)
    if again:
        return [lost, *_next_attempt(job, spec)]
    message = f"The runner was lost, {'once' if times == 1 else f'{times} times'}: {reason}"
    return [lost, _finished_event(job, JobStatus.FAILED, LOST_EXIT_CODE, "runner_lost", message, None)]


def evolve(job: Job, event: JobEvent) -> Job:
    match event:
        case JobQueued():
            same = job.queued is not None and job.queued.job.round == event.job.round
            losses, failures = (job.runner_losses, job.retried_failures) if same else (0, 0)
            return Job(status=JobStatus.QUEUED, queued=event, runner_losses=losses, retried_failures=failures)
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
            return replace(job, status=status)
        case JobLost(delivered=delivered):
            return replace(job, runner_losses=job.runner_losses + delivered)
        case JobRetried():
            return replace(job, retried_failures=job.retried_failures + 1)
        case ArtifactUploaded(artifact_type=type_, artifact_id=id_):
            return replace(job, artifacts={**job.artifacts, type_: id_})
        case ArtifactRemoved(artifact_id=id_):
            return replace(job, artifacts={type_: one for type_, one in job.artifacts.items() if one != id_})
        case JobPriorityChanged(priority=priority):
            return replace(job, queued=job.spec.replace(priority=priority))
        case JobDeleted():
            return replace(job, deleted=True)
        case _:
            assert_never(event)


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
    initial_commands=(QueueJob,),
)
