"""A query for one build with its jobs, attempts, steps and artifacts."""

from datetime import datetime

from contracts.builds.artifact import Artifact
from contracts.builds.build import BuildStatus
from contracts.builds.console.reported_tests import BuildTests
from contracts.builds.job import JobAttempt, JobStatus
from contracts.builds.log import Section
from contracts.builds.plan import LaunchSchedule, LaunchVariable
from contracts.messages import Message, Query


class GetBuildOverview(Query):
    """Get a build with its jobs, their attempts, steps and artifacts. Answer: BuildOverview. Errors: BUILD_NOT_FOUND.

    The reason why a build or job waits can name builds of projects that the user may not see.
    """

    build_id: int


class GetBuildCoverage(Query):
    """Get the coverage that the jobs of a build reported. Answer: BuildCoverage. Errors: BUILD_NOT_FOUND."""

    build_id: int


class BuildCoverage(Message):
    percent: float | None  # mean of the jobs that reported a coverage; None: no job did


class UserName(Message):
    id: int  # 0: the system or a runner
    name: str


class ProjectName(Message):
    """Names of a project when the build was launched."""

    id: int
    name: str
    owner_alias: str
    alias: str


class LogStep(Section):
    """A section of the log of an attempt, without its lines."""

    index: int
    lines: int  # number of stored complete lines


class AttemptOverview(JobAttempt):
    log_bytes: int = 0  # bytes received from the runner, or size of the notice that replaced a removed log
    steps: tuple[LogStep, ...] = ()


class JobOverview(Message):
    id: int
    local_id: int | None  # number in its project; None before it is queued
    name: str
    stage: str
    stage_index: int  # position of the stage in the order of stages
    status: JobStatus
    when: str = "on_success"
    allow_failure: bool = False
    needs: tuple[str, ...] | None = None  # names of the jobs that this job waits for; None: all jobs of earlier stages
    tags: tuple[str, ...] = ()
    image: str | None = None
    timeout_seconds: int = 0
    attempt: int = 0  # 0: not queued yet
    runner: str | None = None
    exit_code: int | None = None
    exit_message: str | None = None
    reason: str = ""  # stable code of the failure; empty: none
    coverage: float | None = None  # in percent
    queued_at: datetime | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    waiting_for: str | None = None  # why the job waits, as readable text
    attempts: tuple[AttemptOverview, ...] = ()  # oldest first
    artifacts: tuple[Artifact, ...] = ()


class BuildOverview(Message):
    id: int
    local_id: int
    executor_id: str
    project: ProjectName
    status: BuildStatus
    finished: bool
    priority: int
    branch: str
    ref: str | None
    sha: str | None
    message: str  # commit message
    source: str
    delivery_id: str | None
    initiator: UserName
    killed_by: UserName | None
    warnings: tuple[str, ...]
    available_steps: tuple[str, ...]
    ignored_steps: tuple[str, ...]
    variables: tuple[LaunchVariable, ...] = ()  # given at the launch
    schedule: LaunchSchedule | None = None  # schedule that launched the build
    runner: str | None
    exit_code: int | None
    exit_message: str | None
    output: str | None
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    waiting_for: str | None  # why the build has not started, as readable text
    jobs: tuple[JobOverview, ...]  # by stage, then as in the spec file
    coverage: float | None = None  # mean of the jobs that reported a coverage, in percent
    tests: BuildTests | None = None  # summary without suites; None: no job has uploaded a report
