from datetime import UTC, datetime
from enum import StrEnum

from contracts.builds.artifact import RecordArtifact, RemoveArtifact
from contracts.builds.log import Section
from contracts.builds.plan import LaunchedProject, PlannedJob, Priority
from contracts.messages import Command


class JobStatus(StrEnum):
    CREATED = "CREATED"  # waits for other jobs of its build
    MANUAL = "MANUAL"  # waits until a user starts it
    SKIPPED = "SKIPPED"  # not run because of the results of other jobs
    WARNING = "WARNING"  # failed, and allowed to fail
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # the runner stops the script and cleans up
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


UNFINISHED_TIME = datetime(9999, 1, 1, tzinfo=UTC)


FINISHED_JOB_STATUSES = frozenset({JobStatus.SUCCESS, JobStatus.WARNING, JobStatus.FAILED, JobStatus.CANCELED})


class QueueJob(Command):
    """Queue a planned job for a runner."""

    job_id: int
    build_id: int
    project: LaunchedProject
    job: PlannedJob
    ref: str
    sha: str
    protected: bool = False
    build_local_id: int = 0
    priority: int = 0


class AssignJob(Command):
    """Assign the job to a runner. Of concurrent claims exactly one succeeds."""

    job_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str
    cancels_gracefully: bool = False
    reports_late: bool = False


class StartJob(Command):
    """Mark a job as running, at its runner's first report."""

    job_id: int
    attempt: int


class RecordSteps(Command):
    """Record all sections of the log so far. Sections that are already recorded have no effect."""

    job_id: int
    attempt: int
    steps: tuple["Section", ...]


class FinishJob(Command):
    """Record the result of a job."""

    job_id: int
    attempt: int
    status: JobStatus
    exit_code: int
    reason: str = ""  # stable code: script_failure, job_execution_timeout, ...
    message: str | None = None  # readable text
    output: str | None = None
    steps: tuple["Section", ...] = ()  # all sections of the log, as in RecordSteps


class CancelJob(Command):
    """Cancel a job: immediately, or if `graceful` after its runner has run the cleanup steps, if any."""

    job_id: int
    graceful: bool = False


class ChangeJobPriority(Command):
    """Change the priority of a job, after the priority of its build was changed."""

    job_id: int
    priority: Priority


class DeleteJob(Command):
    """Delete a job of a deleted build."""

    job_id: int


class MarkJobLost(Command, wire_name="LoseJob"):
    """Record that a job lost its runner, for example because the lease expired or the runner was deleted."""

    job_id: int
    attempt: int
    reason: str
    delivered: bool = True  # False: the runner never received the job; without effect if the attempt has started
    steps: tuple["Section", ...] = ()  # as in RecordSteps


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
