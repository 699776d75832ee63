"""A job: offered, given to one runner, run in steps, finished or lost and tried again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from contracts.builds import (
    FINISHED_JOB,
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
    LoseJob,
    QueueJob,
    RecordArtifact,
    RecordSteps,
    RemoveArtifact,
    Section,
    StartJob,
    StepFinished,
    StepStarted,
)
from contracts.errors import Refused
from libs.deciding import Decider

LOST = -2
CANCELED = 143
RETRIED_AS = {"runner_lost": "runner_system_failure", "": "unknown_failure"}  # reasons as spec files name them


@dataclass(frozen=True, slots=True)
class Job:
    status: JobStatus | None = None
    queued: JobQueued | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    cancels_gracefully: bool = False
    reports_late: bool = False
    opened: frozenset[str] = frozenset()  # steps of this attempt
    closed: frozenset[str] = frozenset()
    artifacts: Mapping[str, str] = field(default_factory=dict)  # type -> id
    deleted: bool = False
    losses: int = 0  # of runners, since somebody wished the job
    failures: int = 0  # that led to another attempt, since then

    @property
    def order(self) -> JobQueued:
        if self.queued is None:
            raise Refused("JOB_NOT_FOUND")
        return self.queued


def decide(job: Job, command: JobCommand) -> Sequence[JobEvent]:
    if isinstance(command, QueueJob):
        return _queued_or_again(job, command)
    if isinstance(command, CancelJob | ChangeJobPriority) and job.queued is None:
        raise Refused("CONFLICT", "the job is just being queued")  # to be told again: it must not be forgotten
    order = job.order
    here = _here(order)
    if isinstance(command, FinishJob | LoseJob) and command.steps:
        shown = RecordSteps(job_id=command.job_id, attempt=command.attempt, steps=command.steps)
        return [*decide(job, shown), *decide(job, command.but(steps=()))]  # steps have no say in how it goes on
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
            return [_started(job)]
        case ((JobStatus.RUNNING | JobStatus.CANCELING), StartJob(attempt=order.attempt)):
            return []
        case (
            (JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING),
            RecordSteps(attempt=order.attempt, steps=steps),
        ):
            return list(_new_steps(job, order, steps))
        case _, RecordArtifact(artifact=artifact) if artifact.id in job.artifacts.values():
            return []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), RecordArtifact(attempt=order.attempt)):
            return _uploaded(job, command)
        case _, RemoveArtifact(artifact_id=id_, reason=reason):
            return [_removed(job, id_, reason)] if id_ in job.artifacts.values() else []
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=order.attempt)) if _tried_again(job, command):
            retried = JobRetried(
                **here,
                attempt=order.attempt,
                exit_code=command.exit_code,
                reason=command.reason,
                message=command.message,
                runner_uuid=job.runner_uuid,
                runner_name=job.runner_name,
            )
            return [retried, *_again(job, order)]
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), FinishJob(attempt=order.attempt)):
            return [_finished(job, command.status, command.exit_code, command.reason, command.message, command.output)]
        case status, FinishJob(attempt=order.attempt, status=wanted) if status is wanted:
            return []  # a runner repeats what was not acknowledged
        case JobStatus.RUNNING, CancelJob(graceful=True) if _can_clean_up(job):
            return [JobCanceling(**here, attempt=order.attempt, **_by(job))]
        case JobStatus.ASSIGNED, CancelJob(graceful=True) if job.reports_late and _can_clean_up(job):
            # the script may run already; a runner that reports first would drop the job without running it
            return [_started(job), JobCanceling(**here, attempt=order.attempt, **_by(job))]
        case JobStatus.CANCELING, CancelJob(graceful=True):
            return []
        case ((JobStatus.QUEUED | JobStatus.ASSIGNED | JobStatus.RUNNING | JobStatus.CANCELING), CancelJob()):
            return [_canceled(job)]
        case JobStatus.CANCELING, FinishJob(attempt=order.attempt):
            return [_canceled(job)]  # whatever its runner says
        case JobStatus.CANCELING, LoseJob(attempt=order.attempt, reason=reason, delivered=True):
            return [_lost(job, reason, retried=False), _canceled(job)]
        case JobStatus.ASSIGNED, LoseJob(attempt=order.attempt, reason=reason, delivered=False):
            return [_lost(job, reason, retried=True).but(delivered=False), *_again(job, order)]
        case ((JobStatus.ASSIGNED | JobStatus.RUNNING), LoseJob(attempt=order.attempt, reason=reason, delivered=True)):
            return _given_up_or_retried(job, order, reason)
        case status, ChangeJobPriority(priority=priority):
            stays = status in FINISHED_JOB or priority == order.priority
            return [] if stays else [JobPriorityChanged(**here, priority=priority)]
        case status, CancelJob() if status in FINISHED_JOB:
            return []
        case _, DeleteJob() if job.deleted:
            return []
        case status, DeleteJob():
            end = [] if status in FINISHED_JOB else [_canceled(job)]
            return [*end, JobDeleted(**here)]
        case _, LoseJob():
            return []  # it was heard of after all, or another attempt runs
        case status, _:
            raise Refused("JOB_STATUS", f"{command.wire_name} while {status}, attempt {order.attempt}")


def _here(order: JobQueued) -> dict[str, Any]:
    return {
        "job_id": order.job_id,
        "build_id": order.build_id,
        "project_id": order.project_id,
        "job_name": order.job.name,
        "stage": order.job.stage,
        "project_name": order.project.name,
    }


def _by(job: Job) -> dict[str, str]:
    return {"runner_uuid": job.runner_uuid or "", "runner_name": job.runner_name or ""}


def _started(job: Job) -> JobStarted:
    order = job.order
    return JobStarted(**_here(order), attempt=order.attempt, **_by(job), since_assignment=job.reports_late)


def _can_clean_up(job: Job) -> bool:
    return job.cancels_gracefully and job.order.job.cleans_up


def _queued_or_again(job: Job, command: QueueJob) -> list[JobEvent]:
    if job.queued is None:
        return [_queued(command)]
    if job.deleted or job.status not in FINISHED_JOB or command.job.round <= job.queued.job.round:
        return []
    return _again(job, _queued(command).but(attempt=job.queued.attempt))


def _tried_again(job: Job, command: FinishJob) -> bool:
    wanted = job.order.job
    if command.status is not JobStatus.FAILED or job.failures >= wanted.retries:
        return False
    if not (wanted.retry_when or wanted.retry_codes):
        return True
    reason = RETRIED_AS.get(command.reason, command.reason)
    return reason in wanted.retry_when or command.exit_code in wanted.retry_codes


def _queued(command: QueueJob) -> JobQueued:
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


def _new_steps(job: Job, order: JobQueued, steps: Sequence[Section]) -> Iterator[JobEvent]:
    """What the log shows of the steps and the stream does not know yet."""
    here = {
        "job_id": order.job_id,
        "build_id": order.build_id,
        "project_id": order.project_id,
        "attempt": order.attempt,
    }
    for one in steps:
        if one.step not in job.opened:
            yield StepStarted(**here, step=one.step, started_at=one.start_at)
        if one.closed_at is not None and one.success is not None and one.step not in job.closed:
            yield StepFinished(
                **here,
                step=one.step,
                finished_at=one.closed_at,
                success=one.success,
                skipped=bool(one.skipped),
                timed_out=one.timed_out,
            )


def _uploaded(job: Job, command: RecordArtifact) -> list[JobEvent]:
    """It takes the place of what was there."""
    order, artifact = job.order, command.artifact
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
    return [*([_removed(job, former, "replaced")] if former else []), uploaded]


def _removed(job: Job, artifact_id: str, reason: str) -> ArtifactRemoved:
    order = job.order
    return ArtifactRemoved(
        job_id=order.job_id,
        build_id=order.build_id,
        project_id=order.project_id,
        artifact_id=artifact_id,
        reason=reason,
    )


def _again(job: Job, order: JobQueued) -> list[JobEvent]:
    """The next attempt begins with nothing."""
    cleared = [_removed(job, artifact_id, "retried") for artifact_id in job.artifacts.values()]
    return [*cleared, order.but(attempt=order.attempt + 1)]


def _finished(
    job: Job, status: JobStatus, exit_code: int, reason: str, message: str | None, output: str | None
) -> JobFinished:
    return JobFinished(
        **_here(job.order),
        attempt=job.order.attempt,
        status=status,
        exit_code=exit_code,
        reason=reason,
        message=message,
        output=output,
        runner_uuid=job.runner_uuid,
        runner_name=job.runner_name,
    )


def _canceled(job: Job) -> JobFinished:
    return _finished(job, JobStatus.CANCELED, CANCELED, "canceled", "Deployment aborted by user", None)


def _lost(job: Job, reason: str, *, retried: bool) -> JobLost:
    return JobLost(**_here(job.order), attempt=job.order.attempt, **_by(job), reason=reason, retried=retried)


def _given_up_or_retried(job: Job, order: JobQueued, reason: str) -> list[JobEvent]:
    times = job.losses + 1
    again = times < order.job.max_attempts
    lost = _lost(job, reason, retried=again)
    if again:
        return [lost, *_again(job, order)]
    message = f"The runner was lost, {'once' if times == 1 else f'{times} times'}: {reason}"
    return [lost, _finished(job, JobStatus.FAILED, LOST, "runner_lost", message, None)]


def evolve(job: Job, event: JobEvent) -> Job:
    match event:
        case JobQueued():
            same = job.queued is not None and job.queued.job.round == event.job.round
            losses, failures = (job.losses, job.failures) if same else (0, 0)
            return Job(status=JobStatus.QUEUED, queued=event, losses=losses, failures=failures)
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
            return replace(job, opened=job.opened | {step})
        case StepFinished(step=step):
            return replace(job, closed=job.closed | {step})
        case JobCanceling():
            return replace(job, status=JobStatus.CANCELING)
        case JobFinished(status=status):
            return replace(job, status=status)
        case JobLost(delivered=delivered):
            return replace(job, losses=job.losses + delivered)
        case JobRetried():
            return replace(job, failures=job.failures + 1)
        case ArtifactUploaded(artifact_type=type_, artifact_id=id_):
            return replace(job, artifacts={**job.artifacts, type_: id_})
        case ArtifactRemoved(artifact_id=id_):
            return replace(job, artifacts={type_: one for type_, one in job.artifacts.items() if one != id_})
        case JobPriorityChanged(priority=priority):
            return replace(job, queued=job.order.but(priority=priority))
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
        LoseJob,
        ChangeJobPriority,
        DeleteJob,
        RecordArtifact,
        RemoveArtifact,
    ),
    stream=lambda command: f"job-{command.job_id}",
    initial=Job(),
    decide=decide,
    evolve=evolve,
    creates=(QueueJob,),
)
