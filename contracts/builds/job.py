"""Messages about jobs, from the queue to the result."""

from datetime import UTC, datetime
from enum import StrEnum

from contracts.builds.artifact import Artifact, ArtifactRemoved, ArtifactUploaded, RecordArtifact, RemoveArtifact
from contracts.builds.log import Section
from contracts.builds.plan import LaunchedProject, PlannedJob, PlannedStep, Priority
from contracts.messages import Command, Event, Message, Query, ReadModelRow
from contracts.paging import SliceQuery


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
    """Record all sections of the log so far. Already recorded ones have no effect."""

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
    steps: tuple["Section", ...] = ()  # as in RecordSteps, from the end of the log


class CancelJob(Command):
    """Cancel a job: immediately, or if `graceful` after its runner has run the cleanup steps, if any."""

    job_id: int
    graceful: bool = False


class ChangeJobPriority(Command):
    """Change the priority of a job, after that of its build."""

    job_id: int
    priority: Priority


class DeleteJob(Command):
    """Delete a job, after its build."""

    job_id: int


class MarkJobLost(Command, wire_name="LoseJob"):
    """Record that a job lost its runner: the lease expired, the runner was deleted, or it returned the job."""

    job_id: int
    attempt: int
    reason: str
    delivered: bool = True  # False: the runner never received it; ignored once it has reported
    steps: tuple["Section", ...] = ()  # as in RecordSteps


class JobNames(Message):
    """Display names, so that an event can be understood without others."""

    job_name: str = ""
    stage: str = ""
    project_name: str = ""


class JobRetried(JobNames, Event):
    """A job failed and is retried as its spec file says. JobQueued with the next attempt follows."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    exit_code: int
    reason: str = ""
    message: str | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None


class JobQueued(Event):
    """A job waits for a runner. `attempt` counts from 1."""

    job_id: int
    job_uuid: str
    build_id: int
    project_id: int
    owner_alias: str
    attempt: int
    ref: str
    sha: str
    protected: bool = False
    project: LaunchedProject
    job: PlannedJob
    build_local_id: int = 0  # number of the build in its project
    priority: int = 0


class JobAssigned(JobNames, Event):
    """A job was assigned to a runner."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str
    cancels_gracefully: bool = False  # the runner can stop a script and clean up
    reports_late: bool = False  # the runner may run the script before its first report


class JobStarted(JobNames, Event):
    """The runner has started a job."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    since_assignment: bool = False  # the runner reports late; the job has run since JobAssigned


class StepStarted(Event):
    """A step of the spec file, or a section of the log, started."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    started_at: datetime | None


class StepFinished(Event):
    """A step of the spec file, or a section of the log, ended."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    finished_at: datetime
    success: bool
    skipped: bool = False
    timed_out: bool = False


class JobCanceling(JobNames, Event):
    """The runner stops the script of a canceled job and runs its cleanup steps. JobFinished follows in any case."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""


class JobFinished(JobNames, Event):
    """A job ended with SUCCESS, FAILED or CANCELED. `reason` is a stable code, `message` is readable text."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    status: JobStatus
    exit_code: int
    reason: str = ""
    message: str | None = None
    output: str | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None


class JobLost(JobNames, Event):
    """A job lost its runner. JobQueued with the next attempt follows if `retried`, otherwise JobFinished."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    reason: str
    retried: bool
    delivered: bool = True  # False: the runner never received it; JobQueued follows without a limit of attempts


class JobPriorityChanged(JobNames, Event):
    """The priority of a job in the queue changed. Jobs with higher priority are assigned first."""

    job_id: int
    build_id: int
    project_id: int
    priority: int


class JobDeleted(JobNames, Event):
    """A job and its log were deleted with its build."""

    job_id: int
    build_id: int
    project_id: int


class JobRow(ReadModelRow):
    """The read model row of a job."""

    id: int = 0
    local_id: int = 0  # number in its project
    uuid: str = ""
    build_id: int = 0
    build_local_id: int = 0
    project_id: int = 0
    owner_alias: str = ""
    name: str = ""
    stage: str = ""
    ref: str = ""
    sha: str = ""
    tags: tuple[str, ...] = ()
    protected: bool = False
    priority: int = 0
    demand: str = ""  # key of its JobRequirements while it waits for a runner
    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    timeout_seconds: int = 3600
    runner_id: int | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    token_hash: str = ""
    exit_code: int | None = None
    reason: str = ""
    message: str | None = None
    queued_at: datetime | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    canceling_at: datetime | None = None
    finished_at: datetime | None = None
    listed_at: datetime = UNFINISHED_TIME  # sort key of lists, descending: unfinished jobs, then the latest
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    planned: PlannedJob | None = None  # of pipeline jobs
    project: LaunchedProject | None = None
    delivery_id: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    traceparent: str = ""  # of the launch


class GetJob(Query):
    """Get a job by its id. Answer: JobRow."""

    job_id: int


class ListJobs(SliceQuery):
    """List jobs: unfinished ones, then the latest finished ones.

    Answer: Page of JobRow. A job with the status WARNING is returned as FAILED with `failure_allowed`.
    """

    runner_uuid: str | None = None  # jobs that this runner has or had; None: of all runners
    statuses: tuple[JobStatus, ...] | None = None  # None: all


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
JobEvent = (
    JobQueued
    | JobAssigned
    | JobStarted
    | StepStarted
    | StepFinished
    | JobCanceling
    | JobFinished
    | JobLost
    | JobPriorityChanged
    | JobRetried
    | JobDeleted
    | ArtifactUploaded
    | ArtifactRemoved
)
