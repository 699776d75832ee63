"""Queries about jobs, and their answers."""

from datetime import datetime

from contracts.builds.artifact import Artifact
from contracts.builds.job import UNFINISHED_TIME, JobAttempt, JobStatus
from contracts.builds.plan import LaunchedProject, PlannedJob, PlannedStep
from contracts.messages import Query, ReadModelRow
from contracts.paging import PageRequest


class JobRow(ReadModelRow):
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
    demand: str = ""  # key of the job's JobRequirements while the job waits for a runner
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
    coverage: float | None = None  # in percent
    queued_at: datetime | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    canceling_at: datetime | None = None
    finished_at: datetime | None = None
    listed_at: datetime = UNFINISHED_TIME  # when the job finished, or 9999; lists are in descending order of it
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    planned: PlannedJob | None = None  # set for pipeline jobs only
    project: LaunchedProject | None = None
    delivery_id: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    traceparent: str = ""  # W3C trace context of the build's launch
    earlier_attempts: tuple[JobAttempt, ...] = ()  # oldest first; at most the latest 20

    def current_attempt(self) -> JobAttempt:
        return JobAttempt(
            number=self.attempt,
            status=self.status,
            runner=self.runner_name,
            runner_uuid=self.runner_uuid,
            queued_at=self.queued_at,
            assigned_at=self.assigned_at,
            started_at=self.started_at,
            completed_at=self.finished_at,
            exit_code=self.exit_code,
            reason=self.reason,
            message=self.message,
        )


class GetJob(Query):
    """Get a job by its id. Answer: JobRow without the token hash. Errors: JOB_NOT_FOUND."""

    job_id: int


class ListJobs(PageRequest):
    """List jobs: unfinished ones, then the latest finished ones.

    Answer: Page of JobRow. A job with the status WARNING is returned as FAILED with `failure_allowed`.
    """

    runner_uuid: str | None = None  # jobs whose latest attempt this runner has or had; None: all jobs
    statuses: tuple[JobStatus, ...] | None = None  # None: all statuses
