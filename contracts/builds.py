"""Builds, their jobs and their logs: what may be wished, asked and what happened."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Base64Bytes, Field

from contracts.messages import Command, Event, Message, Query, Row, Sensitive


class BuildStatus(StrEnum):
    QUEUED = "QUEUED"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    KILLED = "KILLED"


class JobStatus(StrEnum):
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


FINISHED_BUILD = frozenset({BuildStatus.SUCCESS, BuildStatus.FAILED, BuildStatus.KILLED})
FINISHED_JOB = frozenset({JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELED})


class LaunchedProject(Message):
    """The project's settings as they were at launch; a build never reads them again."""

    project_id: int
    name: str
    owner_alias: str
    alias: str
    repository: str  # without a login
    branch: str  # "*": the repository's default branch
    spec_file_path: str
    keep_number_build: int | None = None
    allow_concurrent_execution: bool = True
    protected_branches: tuple[str, ...] = ()


class PlannedStep(Message):
    name: str  # with its @
    script: str  # path from the checkout root, arguments may follow
    skipped: bool = False


class PlannedJob(Message):
    """A job as the plan wants it; the same shape whatever dialect the spec file speaks."""

    job_id: int
    job_uuid: str
    name: str
    stage: str = "build"
    tags: tuple[str, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3


# ---- the build


class QueueBuild(Command):
    """Launch a build. The service fills in the ids, the settings and the limits."""

    project_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # pinned by a webhook
    build_id: int = 0
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


class EndJobOfBuild(Command):
    """One of its jobs is over."""

    build_id: int
    job_id: int
    status: JobStatus
    exit_code: int
    exit_message: str | None = None
    output: str | None = None


class KillBuild(Command):
    build_id: int


class BuildQueued(Event):
    build_id: int
    executor_id: str
    project_id: int
    project: LaunchedProject
    queued_at: datetime
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None
    initiator_id: int = 0
    initiator_name: str = ""
    timeout_seconds: int = 3600
    max_attempts: int = 3
    needs_lane: bool = False  # the project's builds run one after the other


class BuildPlanned(Event):
    build_id: int
    project_id: int
    project: LaunchedProject
    sha: str
    ref: str
    protected: bool = False
    available_steps: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]


class BuildStarted(Event):
    build_id: int
    project_id: int
    executor_id: str
    runner_name: str


class BuildKilled(Event):
    build_id: int
    project_id: int
    job_ids: tuple[int, ...] = ()


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


# ---- its jobs


class QueueJob(Command):
    job_id: int
    build_id: int
    project: LaunchedProject
    job: PlannedJob
    ref: str
    sha: str
    protected: bool = False


class AssignJob(Command):
    """Give the job to a runner; of all that ask for it at once exactly one gets it."""

    job_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str


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


class CancelJob(Command):
    job_id: int


class LoseJob(Command):
    """Its runner has been silent for longer than the lease, or is gone."""

    job_id: int
    attempt: int
    reason: str


class JobQueued(Event):
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


class JobAssigned(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str


class JobStarted(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str


class StepStarted(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    started_at: datetime | None


class StepFinished(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    finished_at: datetime
    success: bool
    skipped: bool = False


class JobFinished(Event):
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


class JobLost(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    reason: str
    retried: bool


# ---- who may run now, where a project wants its builds one after the other


class RequestLane(Command):
    project_id: int
    build_id: int


class ReleaseLane(Command):
    project_id: int
    build_id: int


class LaneRequested(Event):
    project_id: int
    build_id: int


class LaneGranted(Event):
    project_id: int
    build_id: int


class LaneReleased(Event):
    project_id: int
    build_id: int


# ---- what people read


class BuildRow(Row):
    id: int = 0
    executor_id: str = ""
    project_id: int = 0
    project_name: str = ""
    branch: str = ""
    status: BuildStatus = BuildStatus.QUEUED
    finished: bool = False
    needs_lane: bool = False
    project: LaunchedProject | None = None
    ignore_steps: tuple[str, ...] = ()
    pinned_sha: str | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3
    ref: str | None = None
    sha: str | None = None
    job_ids: tuple[int, ...] = ()
    available_steps: tuple[str, ...] = ()
    initiator_id: int = 0
    initiator_name: str = ""
    runner: str | None = None
    exit_code: int | None = None
    exit_message: str | None = None
    output: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class JobRow(Row):
    id: int = 0
    uuid: str = ""
    build_id: int = 0
    project_id: int = 0
    owner_alias: str = ""
    name: str = ""
    stage: str = ""
    ref: str = ""
    sha: str = ""
    tags: tuple[str, ...] = ()
    protected: bool = False
    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    timeout_seconds: int = 3600
    runner_id: int | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    token_hash: str = ""
    exit_code: int | None = None
    reason: str = ""
    queued_at: datetime | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    project: LaunchedProject | None = None


class LaneRow(Row):
    project_id: int = 0
    holder: int | None = None
    waiting: tuple[int, ...] = ()


class QueuedBuild(Message):
    build_id: int
    executor_id: str
    project_id: int
    project_name: str
    queued_at: datetime
    priority: int = 0
    reason: str  # why it waits, in words


class Section(Message):
    """A part of a log: `init`, then one per step. Lines are separated by newlines; offsets count bytes of the log."""

    step: str  # without its @
    start_at: datetime | None = None
    closed_at: datetime | None = None
    success: bool | None = None  # known once the next section opens or the job is over
    skipped: bool | None = None


class LiveSection(Section):
    log: str
    line_number: int


class LogSection(Section):
    id: int
    build_id: int
    log: str


# ---- questions


class GetBuild(Query):
    """By its number, or by the executor_id it got at launch. Answer: BuildRow."""

    build_id: int | None = None
    executor_id: str | None = None


class ListQueued(Query):
    """Answer: a list of QueuedBuild, oldest first."""


class ListRunning(Query):
    """Answer: a list of BuildRow, oldest first."""


class ListBuildsOfProject(Query):
    """Finished builds, by number. Answer: a list of BuildRow."""

    project_id: int
    limit: int = Field(default=0, ge=0)  # newest ones only; 0 means all


class ReadLiveLog(Query):
    """The next lines for a reader of a queued or running build. Answer: LiveSection."""

    executor_id: str
    step: str  # the section the reader shows; "-1" at first
    line_number: int  # how many of its lines the reader has


class ReadLog(Query):
    """The section after `step` of a finished build; "-1" for the first. Answer: LogSection."""

    build_id: int
    step: str


# ---- what runners do


class RunnerOffer(Message):
    """What a claim needs to know about the runner that asks."""

    runner_id: int
    runner_uuid: str
    name: str
    tags: tuple[str, ...] = ()
    run_untagged: bool = True
    protected: bool = False
    owner_type: Literal["GLOBAL", "COMPANY", "PROJECT"] = "GLOBAL"
    owner_id: int | None = None
    max_timeout_seconds: int | None = None


class ClaimJob(Command):
    """Take the next job that fits. Answer: Claim."""

    runner: RunnerOffer


class Variable(Message):
    key: str
    value: Sensitive
    masked: bool = False
    file: bool = False


class Assignment(Message):
    """All a runner needs to know about one attempt of a job."""

    job_id: int
    job_uuid: str
    build_id: int
    attempt: int
    token: Sensitive
    name: str
    stage: str
    ref: str
    sha: str
    project: LaunchedProject
    repository_login: str | None = Field(default=None, repr=False)  # user:password, or a lone token
    script: tuple[str, ...]
    variables: tuple[Variable, ...]
    image: str | None
    timeout_seconds: int
    queued_at: datetime


class Claim(Message):
    assignment: Assignment | None


class AppendTrace(Command):
    """More of the log, from a byte offset. Answer: TraceState; refused LOG_RANGE where it does not continue."""

    job_id: int
    token: Sensitive
    offset: int = Field(ge=0)
    content: Base64Bytes = Field(repr=False)


class ReportJob(Command):
    """What the runner says about the job. Answer: TraceState."""

    job_id: int
    token: Sensitive
    state: Literal["pending", "running", "success", "failed"]
    exit_code: int | None = None
    failure_reason: str = ""
    checksum: str | None = None  # "crc32:" and 8 hex digits
    bytesize: int | None = None


class TraceState(Message):
    job_status: str  # running, canceled, failed, success
    length: int  # bytes of the log received
    accepted: bool  # False: the job is over for this token


class GetJob(Query):
    """Answer: JobRow."""

    job_id: int


BuildCommand = QueueBuild | PlanBuild | StartBuild | FailBuild | EndJobOfBuild | KillBuild
BuildEvent = BuildQueued | BuildPlanned | BuildStarted | BuildKilled | BuildFinished
JobCommand = QueueJob | AssignJob | StartJob | RecordSteps | FinishJob | CancelJob | LoseJob
JobEvent = JobQueued | JobAssigned | JobStarted | StepStarted | StepFinished | JobFinished | JobLost
LaneCommand = RequestLane | ReleaseLane
LaneEvent = LaneRequested | LaneGranted | LaneReleased

RecordSteps.model_rebuild()
