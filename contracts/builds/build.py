"""Messages about builds, from launch to result."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contracts.builds.job import JobStatus
from contracts.builds.plan import LaunchedProject, PlannedJob, Priority
from contracts.messages import Command, Event, Message, Query, ReadModelRow


class BuildStatus(StrEnum):
    QUEUED = "QUEUED"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # killed; its jobs run their cleanup
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    KILLED = "KILLED"


class QueueBuild(Command):
    """Launch a build. The service overwrites the fields under "filled in"."""

    project_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # pinned by a webhook
    ref: str | None = None  # the pushed ref; None: the project's branch
    before_sha: str = ""  # commit of the ref before the push
    source: str = "web"  # push, web (after a login) or api (with a personal token)
    delivery_id: str | None = None  # of the webhook that launched it; then also its executor_id
    # filled in
    build_id: int = 0
    local_id: int = 0
    executor_id: str = ""
    queued_at: datetime | None = None
    project: LaunchedProject | None = None
    initiator_id: int = 0
    initiator_name: str = ""
    timeout_seconds: int = 3600
    max_attempts: int = 3


class PlanBuild(Command):
    """Record the plan of a build: its commit and jobs."""

    build_id: int
    sha: str
    ref: str
    available_steps: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]
    warnings: tuple[str, ...] = ()
    default_branch: str = ""
    message: str = ""
    served_by_hash: bool = False


class StartBuild(Command):
    """Mark a build as started, when its first job was assigned to a runner."""

    build_id: int
    runner_name: str


class FailBuild(Command):
    """Finish a build that cannot be planned."""

    build_id: int
    exit_code: int
    exit_message: str
    output: str | None = None


class RecordJobResult(Command, wire_name="EndJobOfBuild"):
    """Record the result of a job in its build."""

    build_id: int
    job_id: int
    status: JobStatus
    exit_code: int
    exit_message: str | None = None
    output: str | None = None
    duration_ms: int = 0


class PlayJob(Command):
    """Start a manual job. Errors: JOB_STATUS if it is not waiting for that."""

    build_id: int = 0  # found by the job
    job_id: int


class RetryJob(Command):
    """Run a finished job and its dependents again. Errors: JOB_STATUS if it is not finished."""

    build_id: int = 0  # found by the job
    job_id: int


class CancelBuildJob(Command, wire_name="StopJob"):
    """Cancel a running, queued or waiting job of a running build. Errors: JOB_STATUS if it is finished."""

    build_id: int = 0  # found by the job
    job_id: int


class ContinueBuild(Command, wire_name="GoOnBuild"):
    """Continue a resumed build that has got the concurrency slot of its project."""

    build_id: int


class RetryBuild(Command):
    """Run all failed, canceled and skipped jobs again. Errors: BUILD_STATUS if there are none."""

    build_id: int


class KillBuild(Command):
    """Kill a build, given by one of the two ids. Its cleanup steps run first; a second kill finishes it immediately.

    Errors: with `executor_id` EXECUTOR_NOT_FOUND, also for a finished build.
    """

    build_id: int = 0
    executor_id: str = ""
    duration_ms: int = 0


class ChangeBuildPriority(Command):
    """Change the priority of a build's jobs in the queue. Errors: BUILD_STATUS if it is finished."""

    build_id: int
    priority: Priority


class DeleteBuild(Command):
    """Delete a finished build and its log. Errors: BUILD_STATUS if it is not finished."""

    build_id: int


class BuildQueued(Event):
    """A build was launched, with the project's settings at that time."""

    build_id: int
    executor_id: str
    project_id: int
    project: LaunchedProject
    queued_at: datetime
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None
    ref: str | None = None
    delivery_id: str | None = None
    initiator_id: int = 0
    initiator_name: str = ""
    timeout_seconds: int = 3600
    max_attempts: int = 3
    needs_lane: bool = False  # the project runs one build at a time
    local_id: int = 0  # number of the build inside its project
    before_sha: str = ""
    source: str = "web"


class BuildPlanned(Event):
    """The commit and jobs of a build are known."""

    build_id: int
    project_id: int
    project: LaunchedProject
    sha: str
    ref: str
    protected: bool = False
    available_steps: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]
    local_id: int = 0
    warnings: tuple[str, ...] = ()  # about parts of the spec file without effect
    default_branch: str = ""
    message: str = ""  # of the commit
    priority: int = 0
    served_by_hash: bool = False  # the git server allows fetching the commit by its hash


class JobStatusChange(Message):
    """The new status of a job."""

    job_id: int
    status: JobStatus


class BuildJobsChanged(Event, wire_name="BuildAdvanced"):
    """The statuses of a build's jobs changed because a job finished or was played, retried or canceled."""

    build_id: int
    project_id: int
    project: LaunchedProject
    sha: str
    ref: str
    protected: bool = False
    local_id: int = 0
    priority: int = 0
    ended: tuple[JobStatusChange, ...] = ()
    released: tuple[PlannedJob, ...] = ()  # jobs to queue
    waiting: tuple[JobStatusChange, ...] = ()  # jobs that are now CREATED, MANUAL or SKIPPED
    stopped: tuple[int, ...] = ()  # queued or running jobs to cancel
    exit_code: int = 0
    exit_message: str | None = None
    output: str | None = None


class BuildResumed(Event):
    """Jobs of a finished build were played or retried."""

    build_id: int
    project_id: int
    executor_id: str
    job_ids: tuple[int, ...] = ()
    needs_lane: bool = False  # it continues when it gets the project's concurrency slot again


class BuildStarted(Event):
    """The first job of a build was assigned to a runner."""

    build_id: int
    project_id: int
    executor_id: str
    runner_name: str


class BuildKilled(Event):
    """A user killed the build; BuildFinished follows. A second kill is recorded again."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()
    graceful: bool = False  # the jobs run their cleanup first


class BuildFinished(Event):
    """A build has ended, with its result."""

    build_id: int
    executor_id: str
    project_id: int
    project_name: str
    status: BuildStatus
    exit_code: int
    exit_message: str | None = None
    output: str | None = None
    queued_at: datetime
    initiator_id: int = 0
    initiator_name: str = ""
    held_lane: bool = False
    keep_number_build: int | None = None
    duration: int = 0  # seconds, sum of the log's sections, rounded; up to 0.2.0 each section was truncated
    duration_ms: int | None = None  # the same in milliseconds
    ran: bool = True  # False: killed before a runner had it; not in the list of finished builds


class BuildPriorityChanged(Event):
    """An administrator changed the priority of a build. It also applies to jobs that are queued later."""

    build_id: int
    project_id: int
    priority: int
    job_ids: tuple[int, ...] = ()


class BuildDeleted(Event):
    """A build was deleted. The deletion of its jobs and logs follows."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()


class BuildJobStatus(Message):
    """A job's status in its build: QUEUED until it is finished, also while it runs."""

    job_id: int
    name: str
    stage: str
    when: str
    allow_failure: bool
    status: JobStatus


class BuildRow(ReadModelRow):
    """The read model row of a build."""

    id: int = 0
    local_id: int = 0
    executor_id: str = ""
    project_id: int = 0
    project_name: str = ""
    branch: str = ""
    status: BuildStatus = BuildStatus.QUEUED
    priority: int = 0
    finished: bool = False
    needs_lane: bool = False
    project: LaunchedProject | None = None
    ignore_steps: tuple[str, ...] = ()
    pinned_sha: str | None = None
    pinned_ref: str | None = None
    before_sha: str = ""
    source: str = "web"
    delivery_id: str | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3
    ref: str | None = None
    sha: str | None = None
    job_ids: tuple[int, ...] = ()
    available_steps: tuple[str, ...] = ()
    jobs: tuple[BuildJobStatus, ...] = ()  # of a pipeline
    protected: bool = False
    default_branch: str = ""
    message: str = ""
    served_by_hash: bool = False
    warnings: tuple[str, ...] = ()
    initiator_id: int = 0
    initiator_name: str = ""
    runner: str | None = None
    ran: bool = True  # as in BuildFinished
    exit_code: int | None = None
    exit_message: str | None = None
    output: str | None = None
    killed_by: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class QueuedBuild(Message):
    """A build that waits, and why."""

    build_id: int
    executor_id: str
    project_id: int
    project_name: str
    queued_at: datetime
    priority: int = 0
    reason: str  # why it waits, as text


class GetBuild(Query):
    """Get a build by its id or executor id. Answer: BuildRow."""

    build_id: int | None = None
    executor_id: str | None = None


class BuildJobView(Message):
    """A job in the list of its build."""

    id: int
    local_id: int | None  # number in its project; None before it is queued
    name: str
    stage: str
    status: JobStatus
    when: str = "on_success"
    allow_failure: bool = False
    attempt: int = 0
    runner: str | None = None
    exit_code: int | None = None
    exit_message: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ListBuildJobs(Query, wire_name="ListJobsOfBuild"):
    """List all jobs of a build, including waiting and skipped ones. Answer: a list of BuildJobView, by stage."""

    build_id: int


class ListQueuedBuilds(Query, wire_name="ListQueued"):
    """List queued builds. Answer: a list of QueuedBuild, oldest first."""


class BuildSummary(ReadModelRow):
    """A build in a list: the fields of BuildRow of bounded size."""

    id: int = 0
    executor_id: str = ""
    project_id: int = 0
    project_name: str = ""
    status: BuildStatus = BuildStatus.QUEUED
    priority: int = 0
    ref: str | None = None
    sha: str | None = None
    runner: str | None = None
    exit_code: int | None = None
    exit_message: str | None = None
    output: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ListRunningBuilds(Query, wire_name="ListRunning"):
    """List running builds. Answer: a list of BuildSummary, oldest first, at most 1,000 that fit in a message."""


class ListProjectBuilds(Query, wire_name="ListBuildsOfProject"):
    """List finished builds of a project. Answer: a list of BuildSummary by id, at most the newest 1,000 that fit."""

    project_id: int
    limit: int = Field(default=0, ge=0)  # number of newest builds; 0: as many as possible


BuildCommand = (
    QueueBuild
    | PlanBuild
    | StartBuild
    | FailBuild
    | RecordJobResult
    | PlayJob
    | RetryJob
    | CancelBuildJob
    | RetryBuild
    | ContinueBuild
    | KillBuild
    | ChangeBuildPriority
    | DeleteBuild
)
BuildEvent = (
    BuildQueued
    | BuildPlanned
    | BuildStarted
    | BuildJobsChanged
    | BuildResumed
    | BuildKilled
    | BuildPriorityChanged
    | BuildFinished
    | BuildDeleted
)
