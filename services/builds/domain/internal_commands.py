"""Internal commands of the builds service, which its policies, workers and handlers send to its deciders."""

from dataclasses import dataclass
from datetime import datetime

from contracts.builds import (
    Artifact,
    JobStatus,
    LaunchedProject,
    LaunchSchedule,
    LaunchVariable,
    PlannedJob,
    Priority,
    Section,
)
from contracts.projects import PullRequest, SupersededBuilds
from libs.eventstore.decider import InternalCommand, NewDocument


@dataclass(frozen=True)
class LaunchBuild(InternalCommand, wire_name="QueueBuild"):
    """Launch a build with its ids, its initiator and the current settings of its project."""

    project_id: int
    build_id: int
    local_id: int
    executor_id: str
    queued_at: datetime
    project: LaunchedProject
    initiator_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # the pushed commit, if a webhook launched the build
    ref: str | None = None  # the pushed ref; None: the project's branch
    before_sha: str = ""  # commit of the ref before the push
    source: str = "web"  # push, merge_request_event, web (after a sign-in), api (with a personal token) or schedule
    delivery_id: str | None = None  # webhook delivery that launched the build
    variables: tuple[LaunchVariable, ...] = ()
    schedule: LaunchSchedule | None = None
    supersedes: SupersededBuilds = SupersededBuilds.KEEP  # which older builds of its branch the build cancels
    pull_request: PullRequest | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3


@dataclass(frozen=True)
class PlanBuild(InternalCommand):
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


@dataclass(frozen=True)
class StartBuild(InternalCommand):
    """Mark a build as started, when its first job was assigned to a runner."""

    build_id: int
    runner_name: str
    job_id: int
    round: int | None = None  # round of the job; None: unknown


@dataclass(frozen=True)
class FailBuild(InternalCommand):
    """Finish a build that cannot be planned."""

    build_id: int
    exit_code: int
    exit_message: str
    output: str | None = None


@dataclass(frozen=True)
class EndJobOfBuild(InternalCommand):
    """Report the result of a job to its build. A result of an earlier round of the job has no effect."""

    build_id: int
    job_id: int
    status: JobStatus
    exit_code: int
    exit_message: str | None = None
    output: str | None = None
    round: int | None = None  # round of the job; None: unknown


@dataclass(frozen=True)
class RecordJobResult(EndJobOfBuild):
    """Record the result of a job in its build, with the duration of the build so far."""

    duration_ms: int = 0


@dataclass(frozen=True)
class StopBuild(InternalCommand, wire_name="KillBuild"):
    """Kill a build, with its duration so far. Cleanup steps, if any, run first. A second kill finishes it at once."""

    build_id: int
    duration_ms: int = 0


@dataclass(frozen=True)
class SupersedeBuild(InternalCommand):
    """Kill a build that a webhook launched, because of a newer one of the same ref.

    Has no effect on builds that users launched or resumed.
    """

    build_id: int
    ref: str
    newer_build_id: int
    newer_local_id: int
    running: bool = False  # whether a build that was started is killed, too
    duration_ms: int = 0


@dataclass(frozen=True)
class PlayBuildJob(InternalCommand, wire_name="PlayJob"):
    build_id: int
    job_id: int


@dataclass(frozen=True)
class RerunBuildJob(InternalCommand, wire_name="RetryJob"):
    """Run a finished job of a build again. Skipped jobs then wait for their upstream jobs again."""

    build_id: int
    job_id: int


@dataclass(frozen=True)
class StopBuildJob(InternalCommand, wire_name="StopJob"):
    build_id: int
    job_id: int


@dataclass(frozen=True)
class ContinueBuild(InternalCommand, wire_name="GoOnBuild"):
    """Continue a build that was resumed `round` times, and got the concurrency slot of its project."""

    build_id: int
    round: int


@dataclass(frozen=True)
class QueueJob(InternalCommand):
    job_id: int
    build_id: int
    project: LaunchedProject
    job: PlannedJob
    ref: str
    sha: str
    protected: bool = False
    build_local_id: int = 0
    priority: int = 0


@dataclass(frozen=True)
class AssignJob(InternalCommand):
    """Assign the job to a runner. Of concurrent claims exactly one succeeds."""

    job_id: int
    attempt: int
    runner_id: int
    runner_uuid: str
    runner_name: str
    token_hash: str
    cancels_gracefully: bool = False
    reports_late: bool = False
    attempt_document: NewDocument | None = None  # inserted with the assignment


@dataclass(frozen=True)
class StartJob(InternalCommand):
    """Mark a job as running, at its runner's first report."""

    job_id: int
    attempt: int


@dataclass(frozen=True)
class RecordSteps(InternalCommand):
    """Record all sections of the log so far. Sections that are already recorded have no effect."""

    job_id: int
    attempt: int
    steps: tuple[Section, ...]


@dataclass(frozen=True)
class FinishJob(InternalCommand):
    """Record the result of an attempt. The job is retried if its spec file says so."""

    job_id: int
    attempt: int
    status: JobStatus
    exit_code: int
    reason: str = ""  # stable code: script_failure, job_execution_timeout, ...
    message: str | None = None  # text for users
    output: str | None = None
    steps: tuple[Section, ...] = ()  # all sections of the log, as in RecordSteps
    coverage: float | None = None  # in percent


@dataclass(frozen=True)
class CancelJob(InternalCommand):
    """Cancel a job immediately or, if `graceful`, after its runner has run the cleanup steps, if there are any."""

    job_id: int
    graceful: bool = False
    round: int | None = None  # the round to cancel; None: the current one


@dataclass(frozen=True)
class ChangeJobPriority(InternalCommand):
    """Change the priority of a job, after the priority of its build was changed. An older priority has no effect."""

    job_id: int
    priority: Priority
    build_version: int  # version of the build's stream at which its priority was changed
    round: int | None = None  # round of the job that the build had queued then; None: unknown


@dataclass(frozen=True)
class DeleteJob(InternalCommand):
    """Delete a job of a deleted build."""

    job_id: int


@dataclass(frozen=True)
class MarkJobLost(InternalCommand, wire_name="LoseJob"):
    """Record that a job lost its runner, for example because the lease expired or the runner was deleted."""

    job_id: int
    attempt: int
    reason: str
    delivered: bool = True  # False: the runner never received the job; without effect if the attempt has started
    steps: tuple[Section, ...] = ()  # all sections of the log, as in RecordSteps


@dataclass(frozen=True)
class RecordArtifact(InternalCommand):
    job_id: int
    attempt: int
    artifact: Artifact


@dataclass(frozen=True)
class RemoveArtifact(InternalCommand):
    """Remove an artifact, for example because it has expired. Removing it again has no effect."""

    job_id: int
    artifact_id: str
    reason: str


@dataclass(frozen=True)
class RequestConcurrencySlot(InternalCommand, wire_name="RequestLane"):
    """Request the slot for a build that was launched or resumed. This ends its earlier request, if there is one."""

    project_id: int
    build_id: int
    build_version: int  # version of the build's stream at which it was launched or resumed


@dataclass(frozen=True)
class ReleaseConcurrencySlot(InternalCommand, wire_name="ReleaseLane"):
    """Release the slot of a build or withdraw its request, unless the request is newer than `build_version`."""

    project_id: int
    build_id: int
    build_version: int
