"""Events of jobs, from the queue to the result."""

from datetime import datetime
from typing import Self

from contracts.builds.artifact import ArtifactRemoved, ArtifactUploaded
from contracts.builds.job import JobStatus
from contracts.builds.plan import LaunchedProject, PlannedJob
from contracts.messages import Event, Message


class JobNames(Message):
    """Display names, so that a reader understands an event without earlier events."""

    job_name: str = ""
    stage: str = ""
    project_name: str = ""


class JobRetried(JobNames, Event):
    """A job failed and is retried as its spec file says. JobQueued with the next attempt follows."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    exit_code: int
    reason: str = ""
    message: str | None = None
    runner_uuid: str | None = None
    runner_name: str | None = None
    duration_ms: int | None = None  # total duration of the log sections after `init`; None: there are none


class JobQueued(Event):
    """A job waits for a runner. `attempt` counts from 1."""

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
    build_local_id: int = 0  # number of the build in its project
    priority: int = 0

    def for_publication(self) -> Self:
        project = self.project.for_publication()
        return self.replace(project=project, owner_alias=project.owner_alias)

    def for_hint(self) -> Self:
        """Return the event without the job's script. Receivers of the hint only match the job with their runners."""
        job = PlannedJob(job_id=self.job_id, job_uuid=self.job_uuid, name=self.job.name, tags=self.job.tags)
        return self.replace(job=job)


class JobAssigned(JobNames, Event):
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
    round: int | None = None  # round of the job, as in PlannedJob; None: recorded by a release up to 0.2.0


class JobStarted(JobNames, Event):
    """A job runs, as its runner has reported for the first time.

    If the runner `reports_late`, the event is also recorded when the job is canceled before the first report.
    """

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    since_assignment: bool = False  # the runner reports late; the job has run since JobAssigned


class StepStarted(Event):
    """A step of a Free Commit job, or the script or after_script of a pipeline job, started."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    step: str
    started_at: datetime | None


class StepFinished(Event):
    """A step of a Free Commit job, or the script or after_script of a pipeline job, ended."""

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
    """The runner stops the script of a canceled job and runs its cleanup steps. JobFinished follows in any case."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""


class JobFinished(JobNames, Event):
    """A job ended with SUCCESS, FAILED or CANCELED. `reason` is a stable code, `message` is readable text."""

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
    duration_ms: int | None = None  # total duration of the log sections after `init`; None: there are none
    round: int | None = None  # round of the job, as in PlannedJob; None: recorded by a release up to 0.2.0
    coverage: float | None = None  # in percent, from the log; None: unknown
    recovered: bool = False  # passed after an earlier attempt, maybe of an earlier round, had failed or lost its runner


class JobLost(JobNames, Event):
    """A job lost its runner. JobQueued with the next attempt follows if `retried`, otherwise JobFinished."""

    job_id: int
    build_id: int
    project_id: int
    attempt: int
    runner_uuid: str
    runner_name: str = ""
    reason: str
    retried: bool
    delivered: bool = True  # False: the runner never received the job; JobQueued follows, and the loss is not counted


class JobPriorityChanged(JobNames, Event):
    """The priority of an unfinished job changed. Queued jobs with higher priority are assigned first."""

    job_id: int
    build_id: int
    project_id: int
    priority: int
    build_version: int = 0  # version of the build's stream with this priority; 0: recorded by a release up to 0.2.0


class JobDeleted(JobNames, Event):
    """A job and its log were deleted with its build."""

    job_id: int
    build_id: int
    project_id: int


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
