from datetime import datetime
from enum import StrEnum

from contracts.builds.job import JobStatus
from contracts.builds.plan import LaunchedProject, PlannedJob, Priority
from contracts.messages import Command


class BuildStatus(StrEnum):
    QUEUED = "QUEUED"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # killed, while its jobs run their cleanup steps
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    KILLED = "KILLED"


class QueueBuild(Command):
    """Launch a build. The service sets the fields that follow the comment `filled in by the service`."""

    project_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # the pushed commit, if a webhook launched the build
    ref: str | None = None  # the pushed ref; None: the project's branch
    before_sha: str = ""  # commit of the ref before the push
    source: str = "web"  # push, web (after a login) or api (with a personal token)
    delivery_id: str | None = None  # webhook delivery that launched the build; its id is also the executor_id
    # filled in by the service
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
    """Start a manual job. Errors: JOB_STATUS if the job does not wait for a manual start.

    Also JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for example while the build is being killed.
    """

    build_id: int = 0  # filled in by the service
    job_id: int


class RetryJob(Command):
    """Run a finished job again. Skipped jobs then wait for their upstream jobs again.

    Errors: JOB_STATUS if the job is not finished, JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for
    example while the build is being killed.
    """

    build_id: int = 0  # filled in by the service
    job_id: int


class CancelBuildJob(Command, wire_name="StopJob"):
    """Cancel a running, queued or waiting job. Errors: JOB_STATUS if the job is finished.

    Also JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for example if the build is finished.
    """

    build_id: int = 0  # filled in by the service
    job_id: int


class ContinueBuild(Command, wire_name="GoOnBuild"):
    """Continue a resumed build that has got the concurrency slot of its project."""

    build_id: int


class RetryBuild(Command):
    """Run all failed and canceled jobs again. Skipped jobs then wait for their upstream jobs again.

    Errors: BUILD_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS if no job failed or was canceled.
    """

    build_id: int


class KillBuild(Command):
    """Kill a build, given by one of the two ids. Its cleanup steps run first. A second kill finishes it immediately.

    Errors: EXECUTOR_NOT_FOUND if no unfinished build has the `executor_id`.
    """

    build_id: int = 0
    executor_id: str = ""
    duration_ms: int = 0


class ChangeBuildPriority(Command):
    """Change the priority of a build's jobs in the queue.

    Errors: BUILD_NOT_FOUND, and BUILD_STATUS if the build is finished.
    """

    build_id: int
    priority: Priority


class DeleteBuild(Command):
    """Delete a finished build and its log. Errors: BUILD_NOT_FOUND, and BUILD_STATUS if it is not finished."""

    build_id: int


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
