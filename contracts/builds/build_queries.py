"""Queries about builds, and their answers."""

from datetime import datetime

from pydantic import Field

from contracts.builds.build import BuildStatus
from contracts.builds.job import JobStatus
from contracts.builds.plan import LaunchedProject, LaunchSchedule, LaunchVariable
from contracts.messages import Message, Query, ReadModelRow
from contracts.paging import FilteredPageRequest, PageRequest
from contracts.projects import ProjectAccess, PullRequest


class BuildJobStatus(Message):
    """A job's status in its build. The status QUEUED means that the job is queued or running."""

    job_id: int
    name: str
    stage: str
    when: str
    allow_failure: bool
    status: JobStatus
    stage_place: int = 0  # position of the stage in the order of stages
    needs: tuple[str, ...] | None = None  # names of the jobs that this job waits for; None: all jobs of earlier stages
    tags: tuple[str, ...] = ()


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
    variables: tuple[LaunchVariable, ...] = ()
    schedule: LaunchSchedule | None = None
    pull_request: PullRequest | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3
    ref: str | None = None
    sha: str | None = None
    job_ids: tuple[int, ...] = ()
    available_steps: tuple[str, ...] = ()
    jobs: tuple[BuildJobStatus, ...] = ()  # the jobs of a pipeline build; empty for other builds
    protected: bool = False
    default_branch: str = ""
    message: str = ""
    served_by_hash: bool = False
    warnings: tuple[str, ...] = ()
    round: int = 0  # how many times the build was resumed
    round_version: int = 0  # version of the build's stream after the launch, or after the last resumption
    initiator_id: int = 0
    initiator_name: str = ""  # not stored, but looked up when it is needed
    runner: str | None = None
    ran: bool = True  # as in BuildFinished
    exit_code: int | None = None
    exit_message: str | None = None
    output: str | None = None
    killed_by: str | None = None  # name of the runner or the system; None: a user, or not killed
    killed_by_id: int | None = None  # number of the user; 0: a runner or the system; None: not killed
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
    reason: str  # why the build waits, as readable text


class GetBuild(Query):
    """Get a build by its id or executor id. Answer: BuildRow. Errors: BUILD_NOT_FOUND, EXECUTOR_NOT_FOUND."""

    build_id: int | None = None
    executor_id: str | None = None


class BuildJobView(Message):
    """A job in the list of the jobs of a build."""

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
    coverage: float | None = None  # in percent
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class ListBuildJobs(Query, wire_name="ListJobsOfBuild"):
    """List all jobs of a build by stage, including waiting and skipped jobs. Answer: a list of BuildJobView.

    Errors: BUILD_NOT_FOUND.
    """

    build_id: int


class ListQueuedBuilds(PageRequest, wire_name="ListQueued"):
    """List the builds that have not started, oldest first. Answer: Page of QueuedBuild."""


class BuildSummary(ReadModelRow):
    """A build in a list: the fields of BuildRow that lists show."""

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


class ListRunningBuilds(PageRequest, wire_name="ListRunning"):
    """List running builds, also those that are being canceled, oldest first. Answer: Page of BuildSummary."""


class ListProjectBuilds(Query, wire_name="ListBuildsOfProject"):
    """List a project's newest finished builds, oldest first. Answer: a list of BuildSummary.

    Builds that were killed before a runner got a job are left out. The list has at most 1,000 builds, or fewer if they
    would not fit into one message. Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
    limit: int = Field(default=0, ge=0)  # number of newest builds; 0: as many as possible


class ListBuildDurations(FilteredPageRequest, wire_name="PageDurations"):
    """List the total duration of builds in seconds per month, oldest first. Answer: Page of `date` and `duration`.

    Months without finished builds are left out.
    """


class GetPreviousResult(Query):
    """Get the last result before a build's current one: of the build before it was resumed, else of an older build.

    The older build has the same ref: a branch, tag or pull request. Only success and failure count as results.
    Answer: PreviousResult. Errors: BUILD_NOT_FOUND.
    """

    build_id: int
    version: int  # version of the build's stream after its result; later results are ignored


class PreviousResult(Message):
    status: BuildStatus | None  # None: there is no earlier result


class GetProjectAccess(Query):
    """Get the visibility, owner and members of a project, which may be deleted. Answer: ProjectAccessView.

    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int


class ProjectAccessView(ProjectAccess):
    company_members_id: tuple[int, ...] = ()  # members of the company that owns the project
