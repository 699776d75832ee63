"""Events of builds, from launch to result."""

from datetime import datetime
from typing import ClassVar, Self

from contracts.builds.build import BuildStatus
from contracts.builds.job import JobStatus
from contracts.builds.plan import LaunchedProject, LaunchSchedule, LaunchVariable, PlannedJob
from contracts.messages import Event, Message
from contracts.projects import PullRequest, SupersededBuilds


class BuildQueued(Event):
    """A build was launched, with the project's settings at that time."""

    omitted: ClassVar[frozenset[str]] = frozenset({"initiator_name"})

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
    initiator_name: str = ""  # empty, except in events of releases up to 0.2.0; see `initiator_id`
    timeout_seconds: int = 3600
    max_attempts: int = 3
    needs_lane: bool = False  # the project runs one build at a time
    local_id: int = 0  # number of the build inside its project
    before_sha: str = ""
    source: str = "web"
    variables: tuple[LaunchVariable, ...] = ()  # given at the launch, for all jobs of the build
    schedule: LaunchSchedule | None = None  # schedule that launched the build
    supersedes: SupersededBuilds = SupersededBuilds.KEEP  # which older builds of the same ref the build cancels
    pull_request: PullRequest | None = None  # the pull or merge request of which `sha` is the head

    def for_publication(self) -> Self:
        return self.replace(project=self.project.for_publication())


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
    warnings: tuple[str, ...] = ()  # warnings about parts of the spec file that have no effect
    default_branch: str = ""
    message: str = ""  # commit message
    priority: int = 0
    served_by_hash: bool = False  # the git server allows fetching the commit by its hash

    def for_publication(self) -> Self:
        return self.replace(project=self.project.for_publication())


class JobStatusChange(Message):
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
    waiting: tuple[JobStatusChange, ...] = ()  # jobs that became CREATED, MANUAL or SKIPPED
    stopped: tuple[int, ...] = ()  # queued or running jobs to cancel
    stopped_rounds: tuple[int, ...] = ()  # rounds of the jobs in `stopped`; empty: recorded by a release up to 0.2.0
    exit_code: int = 0
    exit_message: str | None = None
    output: str | None = None

    def for_publication(self) -> Self:
        return self.replace(project=self.project.for_publication())


class BuildResumed(Event):
    """Jobs of a finished build were played or retried."""

    build_id: int
    project_id: int
    executor_id: str
    job_ids: tuple[int, ...] = ()
    needs_lane: bool = False  # the build continues when it gets the project's concurrency slot again


class BuildStarted(Event):
    """The first job of a launched or resumed build was assigned to a runner."""

    build_id: int
    project_id: int
    executor_id: str
    runner_name: str
    queued_at: datetime | None = None  # time of the launch; None: resumed, or recorded by a release up to 0.2.0


class BuildKilled(Event):
    """A build was killed, and BuildFinished follows. A second kill during the cleanup steps is recorded again."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()
    graceful: bool = False  # the jobs run their cleanup steps first
    job_rounds: tuple[int, ...] = ()  # rounds of the jobs in `job_ids`; empty: recorded by a release up to 0.2.0
    superseded_by: int | None = None  # number in the project of the newer build of the same ref; None: not superseded


class BuildFinished(Event):
    """A build has ended, with its result."""

    omitted: ClassVar[frozenset[str]] = frozenset({"initiator_name"})

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
    initiator_name: str = ""  # empty, except in events of releases up to 0.2.0; see `initiator_id`
    held_lane: bool = False
    keep_number_build: int | None = None
    duration: int = 0  # seconds of the jobs' log sections, minus the durations of earlier BuildFinished events
    duration_ms: int | None = None  # `duration` in milliseconds; None: 0, or recorded by a release up to 0.2.0
    ran: bool = True  # False: killed before a runner got a job of the build; not in the list of finished builds


class BuildPriorityChanged(Event):
    """An administrator changed the priority of a build. It also applies to jobs that are queued later."""

    build_id: int
    project_id: int
    priority: int
    job_ids: tuple[int, ...] = ()  # jobs that are queued or running
    job_rounds: tuple[int, ...] = ()  # rounds of the jobs in `job_ids`; empty: recorded by a release up to 0.2.0


class BuildDeleted(Event):
    """A build was deleted. The deletion of its jobs and logs follows."""

    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()


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
