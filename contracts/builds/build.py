"""A build from launch to result, and what people ask about it."""

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
    CANCELING = "CANCELING"  # killed; its jobs clean up
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    KILLED = "KILLED"


class QueueBuild(Command):
    """Launch a build. The service fills in the ids, the settings and the limits."""

    project_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # pinned by a webhook
    ref: str | None = None  # what was pushed; nothing: the project's branch
    before_sha: str = ""  # what the ref named before the push
    source: str = "web"  # push, web (after a log-in) or api (with a personal token)
    delivery_id: str | None = None  # of the webhook that asked for it, and then also its executor_id
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
    """Its first job has gone to a runner."""

    build_id: int
    runner_name: str


class FailBuild(Command):
    """It cannot be planned: end it with the reason."""

    build_id: int
    exit_code: int
    exit_message: str
    output: str | None = None


class RecordJobResult(Command, wire_name="EndJobOfBuild"):
    """One of its jobs is over."""

    build_id: int
    job_id: int
    status: JobStatus
    exit_code: int
    exit_message: str | None = None
    output: str | None = None
    duration_ms: int = 0


class PlayJob(Command):
    """Start a job that waits for somebody. Refused JOB_STATUS where it does not."""

    build_id: int = 0  # found by the job
    job_id: int


class RetryJob(Command):
    """Run a job again that is over, and what waits for it. Refused JOB_STATUS where it is not over."""

    build_id: int = 0  # found by the job
    job_id: int


class CancelBuildJob(Command, wire_name="StopJob"):
    """Cancel a job of a running build, whether it runs, is queued or waits. Refused JOB_STATUS where it is over."""

    build_id: int = 0  # found by the job
    job_id: int


class ContinueBuild(Command, wire_name="GoOnBuild"):
    """It was resumed, and the lane of its project is its own again."""

    build_id: int


class RetryBuild(Command):
    """Run all jobs again that failed, were canceled or were skipped. Refused BUILD_STATUS where there are none."""

    build_id: int


class KillBuild(Command):
    """End it. A build with something to clean up does that first; killed once more, it is over at once.

    Either of the two ids; by the second one EXECUTOR_NOT_FOUND, also for a build that is over.
    """

    build_id: int = 0
    executor_id: str = ""
    duration_ms: int = 0


class ChangeBuildPriority(Command):
    """Where its jobs stand in the queue. Refused BUILD_STATUS once it is over."""

    build_id: int
    priority: Priority


class DeleteBuild(Command):
    """Forget a finished build with its log. Refused BUILD_STATUS while it is not over."""

    build_id: int


class BuildQueued(Event):
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
    needs_lane: bool = False  # the project's builds run one after the other
    local_id: int = 0  # number of the build inside its project
    before_sha: str = ""
    source: str = "web"


class BuildPlanned(Event):
    build_id: int
    project_id: int
    project: LaunchedProject
    sha: str
    ref: str
    protected: bool = False
    available_steps: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]
    local_id: int = 0
    warnings: tuple[str, ...] = ()  # what of the spec file has no effect
    default_branch: str = ""
    message: str = ""  # of the commit
    priority: int = 0
    served_by_hash: bool = False  # the git server gives the commit by its hash, whether or not its branch has it


class JobStatusChange(Message):
    job_id: int
    status: JobStatus


class BuildJobsChanged(Event, wire_name="BuildAdvanced"):
    """One of several jobs is over, or somebody wished one: what follows for the others."""

    build_id: int
    project_id: int
    project: LaunchedProject
    sha: str
    ref: str
    protected: bool = False
    local_id: int = 0
    priority: int = 0
    ended: tuple[JobStatusChange, ...] = ()
    released: tuple[PlannedJob, ...] = ()  # go to the queue
    waiting: tuple[JobStatusChange, ...] = ()  # CREATED, MANUAL or SKIPPED from now on
    stopped: tuple[int, ...] = ()  # queued or running jobs that are to be canceled
    exit_code: int = 0
    exit_message: str | None = None
    output: str | None = None


class BuildResumed(Event):
    """It was over, and somebody wished some of its jobs."""

    build_id: int
    project_id: int
    executor_id: str
    job_ids: tuple[int, ...] = ()
    needs_lane: bool = False  # it goes on when the lane is its own again


class BuildStarted(Event):
    build_id: int
    project_id: int
    executor_id: str
    runner_name: str


class BuildKilled(Event):
    """The event's actor wished its end; BuildFinished follows. Comes a second time if somebody lost patience."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()
    graceful: bool = False  # the jobs may clean up first


class BuildFinished(Event):
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
    duration: int = 0  # seconds that the sections of its log took, rounded; up to 0.2.0 the whole ones of each
    duration_ms: int | None = None  # the same in milliseconds
    ran: bool = True  # False: it was killed before any runner had it, and is in no list of finished builds


class BuildPriorityChanged(Event):
    """By an administrator. Its jobs follow, those that are yet to be planned get it when they are queued."""

    build_id: int
    project_id: int
    priority: int
    job_ids: tuple[int, ...] = ()


class BuildDeleted(Event):
    """Nobody sees it any more; what is left of its jobs and their logs follows."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()


class BuildJobStatus(Message):
    """A job as its build sees it: QUEUED until it is over, whatever its runner does."""

    job_id: int
    name: str
    stage: str
    when: str
    allow_failure: bool
    status: JobStatus


class BuildRow(ReadModelRow):
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
    build_id: int
    executor_id: str
    project_id: int
    project_name: str
    queued_at: datetime
    priority: int = 0
    reason: str  # why it waits, in words


class GetBuild(Query):
    """By its number, or by the executor_id it got at launch. Answer: BuildRow."""

    build_id: int | None = None
    executor_id: str | None = None


class BuildJobView(Message):
    id: int
    local_id: int | None  # number inside its project; none before it is queued
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
    """All its jobs, also those that wait or were skipped. Answer: a list of JobInBuild, stage by stage."""

    build_id: int


class ListQueuedBuilds(Query, wire_name="ListQueued"):
    """Answer: a list of QueuedBuild, oldest first."""


class BuildSummary(ReadModelRow):
    """A build in a list: the fields of BuildRow that do not grow with its pipeline."""

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
    """Answer: a list of ListedBuild, oldest first; at most 1,000, and as many as one message holds."""


class ListProjectBuilds(Query, wire_name="ListBuildsOfProject"):
    """Finished builds, by number. Answer: a list of ListedBuild; the newest 1,000, and as many as one message holds."""

    project_id: int
    limit: int = Field(default=0, ge=0)  # the newest ones only; 0: as many as possible


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
