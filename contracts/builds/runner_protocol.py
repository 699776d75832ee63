"""Messages of the runner protocol: claim jobs, send logs, report results."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Base64Bytes, Field, SerializerFunctionWrapHandler, model_serializer

from contracts.builds.plan import LaunchedProject, PlannedArtifacts, PlannedCache, PlannedImage, PlannedReports
from contracts.builds.requirements import RunnerCapabilities
from contracts.messages import Command, Message, Sensitive


class RunnerDescription(RunnerCapabilities):
    """The runner that claims a job."""

    runner_id: int
    runner_uuid: str
    name: str
    max_timeout_seconds: int | None = None
    cancels_gracefully: bool = False  # the runner can stop a script and run cleanup steps
    reports_late: bool = False  # the runner may run the script before its first report


class ClaimJob(Command):
    """Claim the next matching job. Answer: ClaimResult. Errors: CONFLICT if the claim was returned at the same time.

    A repeated command with the same id returns the same job until the runner has reported about it.
    """

    runner: RunnerDescription
    job_id: int | None = None  # the job of which the runner was notified; another one may have precedence


class ReturnClaim(Command):
    """Return the job of a claim whose answer could not be delivered to the runner. Answer: ClaimReturned.

    The command has the command id of the claim. If the claim is still in progress, it gets no job.
    """


class ClaimReturned(Message):
    job_id: int | None  # None: the claim had no job, or its runner has reported about the job


class JobVariable(Message):
    """A variable of a job, as the runner gets it."""

    key: str
    value: Sensitive
    masked: bool = False
    file: bool = False
    raw: bool = True  # False: the runner expands $NAME, and $$ to $


class RegistryLogin(Message):
    url: str  # a host, or the special URL of Docker Hub
    username: str
    password: Sensitive


class Dependency(Message):
    """A job whose archive the runner downloads first, with the token of the assignment."""

    job_id: int
    name: str
    file_name: str
    size: int


class Assignment(Message):
    """Everything that a runner needs to run one attempt of a job."""

    job_id: int
    job_uuid: str
    build_id: int
    attempt: int
    token: Sensitive
    name: str
    stage: str
    ref: str
    sha: str
    before_sha: str = ""  # commit of the ref before the push
    protected: bool = False  # whether the branch is protected
    served_by_hash: bool = False  # the git server allows fetching the commit by its hash
    project: LaunchedProject
    repository_login: str | None = Field(default=None, repr=False)  # user:password, or a token
    script: tuple[str, ...]
    after_script: tuple[str, ...] = ()  # runs after the script, whatever its result
    after_script_seconds: int = 0
    variables: tuple[JobVariable, ...]
    registry_logins: tuple[RegistryLogin, ...] = ()
    image: str | None
    timeout_seconds: int
    queued_at: datetime
    delivery_id: str | None = None  # id of the webhook delivery whose payload the job gets
    artifacts: PlannedArtifacts | None = None
    reports: PlannedReports | None = None
    dependencies: tuple[Dependency, ...] = ()
    container: PlannedImage | None = None
    services: tuple[PlannedImage, ...] = ()
    caches: tuple[PlannedCache, ...] = ()
    traceparent: str = ""  # W3C trace context of the build's launch


class ClaimResult(Message):
    assignment: Assignment | None  # None: no matching job


class AppendTrace(Command):
    """Append to a job's log at a byte offset. Answer: TraceState.

    Errors: JOB_TOKEN, LOG_RANGE for a wrong offset, CONFLICT if another chunk arrived at the same time.
    """

    job_id: int
    token: Sensitive
    offset: int = Field(ge=0)
    content: Base64Bytes = Field(repr=False)


class LogEnd(Message):
    """The last part of a job's log, which a runner sends with the result."""

    offset: int = Field(ge=0)
    content: Base64Bytes = Field(repr=False)


class ReportJob(Command):
    """Report the state of a job. Answer: TraceState.

    Errors: JOB_TOKEN, LOG_CHECKSUM if the log is incomplete, LOG_RANGE for a wrong offset of its end, CONFLICT if a
    chunk of the log arrived at the same time.
    """

    job_id: int
    token: Sensitive
    state: Literal["pending", "running", "success", "failed"]
    exit_code: int | None = None
    failure_reason: str = ""
    checksum: str | None = None  # "crc32:" and 8 hex digits
    bytesize: int | None = None
    log_end: LogEnd | None = None  # only with a final state

    @model_serializer(mode="wrap")
    def _omit_log_end(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a missing end of the log, because services of release 0.2.0 reject unknown fields."""
        serialized: dict[str, Any] = serialize(self)
        if self.log_end is None:
            del serialized["log_end"]
        return serialized


class TraceState(Message):
    job_status: str  # running, canceling, canceled, failed, success
    length: int  # bytes of the log received; 0: the job was finished before
    accepted: bool  # False: the job is finished, so that the report has no effect
