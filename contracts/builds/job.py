"""A job of a build: offered to runners, run in steps, finished."""

from datetime import UTC, datetime
from enum import StrEnum

from contracts.builds.artifact import Artifact, ArtifactRemoved, ArtifactUploaded, RecordArtifact, RemoveArtifact
from contracts.builds.log import Section
from contracts.builds.plan import LaunchedProject, PlannedJob, PlannedStep, Priority
from contracts.messages import Command, Event, Message, Query, ReadModelRow
from contracts.paging import SliceQuery


class JobStatus(StrEnum):
    CREATED = "CREATED"  # waits for other jobs of its build
    MANUAL = "MANUAL"  # waits for somebody to play it
    SKIPPED = "SKIPPED"  # the others ended so that it is not wanted
    WARNING = "WARNING"  # failed, as it may
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # the runner is to stop the script and clean up
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


UNFINISHED_TIME = datetime(9999, 1, 1, tzinfo=UTC)
FINISHED_JOB_STATUSES = frozenset({JobStatus.SUCCESS, JobStatus.WARNING, JobStatus.FAILED, JobStatus.CANCELED})


class QueueJob(Command):
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
    """Give the job to a runner; of all that ask for it at once exactly one gets it."""

    job_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str
    cancels_gracefully: bool = False
    reports_late: bool = False


class StartJob(Command):
    job_id: int
    attempt: int


class RecordSteps(Command):
    """All sections the log has shown so far; those already recorded change nothing."""

    job_id: int
    attempt: int
    steps: tuple["Section", ...]


class FinishJob(Command):
    job_id: int
    attempt: int
    status: JobStatus
    exit_code: int
    reason: str = ""  # a stable word: script_failure, job_execution_timeout, ...
    message: str | None = None  # for people
    output: str | None = None
    steps: tuple["Section", ...] = ()  # as RecordSteps has them: what the end of the log has shown


class CancelJob(Command):
    """End it: at once, or if graceful as soon as its runner has cleaned up, where there is something to clean up."""

    job_id: int
    graceful: bool = False


class ChangeJobPriority(Command):
    """From its build."""

    job_id: int
    priority: Priority


class DeleteJob(Command):
    """Its build was deleted."""

    job_id: int


class MarkJobLost(Command, wire_name="LoseJob"):
    """Its runner has been silent for longer than the lease, is gone, or gave it back."""

    job_id: int
    attempt: int
    reason: str
    delivered: bool = True  # False: the runner cannot have heard of it, which holds only until it reports
    steps: tuple["Section", ...] = ()  # as RecordSteps has them


class JobNames(Message):
    """What people call the job, so that one event alone tells them enough."""

    job_name: str = ""
    stage: str = ""
    project_name: str = ""


class JobRetried(JobNames, Event):
    """It failed, and the spec file wants it tried again: JobQueued with the next attempt follows."""

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
    """It waits for a runner, for the first time or again: `attempt` counts."""

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
    build_local_id: int = 0  # number of the build inside its project
    priority: int = 0


class JobAssigned(JobNames, Event):
    """The runner has it; of all that asked for it exactly one."""

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
    """The runner works on it."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    since_assignment: bool = False  # the runner reports late: it has worked on the job since JobAssigned


class StepStarted(Event):
    """A step of the spec file, or a section of the log, begins."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    started_at: datetime | None


class StepFinished(Event):
    """A step of the spec file, or a section of the log, ends."""

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
    """Its build was killed: the runner stops the script and cleans up. JobFinished follows in any case."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""


class JobFinished(JobNames, Event):
    """It is over: SUCCESS, FAILED or CANCELED. `reason` is a stable word for programs, `message` is for people."""

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
    """Its runner is gone or gave it back. JobQueued with the next attempt follows if `retried`, else JobFinished."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    reason: str
    retried: bool
    delivered: bool = True  # False: its runner never got it; JobQueued follows, however often


class JobPriorityChanged(JobNames, Event):
    """Of the jobs that wait, those with the highest priority are given out first."""

    job_id: int
    build_id: int
    project_id: int
    priority: int


class JobDeleted(JobNames, Event):
    """Its build was deleted, and its log with it."""

    job_id: int
    build_id: int
    project_id: int


class JobRow(ReadModelRow):
    id: int = 0
    local_id: int = 0  # number of the job inside its project
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
    demand: str = ""  # while it waits for a runner: the key of what it asks of one
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
    listed_at: datetime = UNFINISHED_TIME  # its place in lists: the latest first, before them what is not finished
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    planned: PlannedJob | None = None  # of a pipeline's job
    project: LaunchedProject | None = None
    delivery_id: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    traceparent: str = ""  # of the launch


class GetJob(Query):
    """Answer: JobRow."""

    job_id: int


class ListJobs(SliceQuery):
    """Jobs, unfinished ones first, then those that finished last.

    Answer: Page of JobRow. A job with the status WARNING is answered as FAILED with `failure_allowed`.
    """

    runner_uuid: str | None = None  # those that this runner has or had; nothing means all
    statuses: tuple[JobStatus, ...] | None = None  # nothing means any


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
