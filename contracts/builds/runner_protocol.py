"""What runners do with jobs: claim them, send their log, report."""

from datetime import datetime
from typing import Literal

from pydantic import Base64Bytes, Field

from contracts.builds.plan import LaunchedProject, PlannedArtifacts, PlannedCache, PlannedImage
from contracts.builds.requirements import RunnerCapabilities
from contracts.messages import Command, Message, Sensitive


class RunnerDescription(RunnerCapabilities):
    """What a claim needs to know about the runner that asks."""

    runner_id: int
    runner_uuid: str
    name: str
    max_timeout_seconds: int | None = None
    cancels_gracefully: bool = False  # it announced that it can stop a script and clean up
    reports_late: bool = False  # its script may run before its first report


class ClaimJob(Command):
    """Take the next job that fits. Answer: Claim.

    Told again with the same id it answers the same job, until the runner was heard of it.
    """

    runner: RunnerDescription


class ReturnClaim(Command):
    """The answer to a claim could not be delivered: what it took goes to the next runner. Answer: Returned.

    Told with the id of the claim. One that is still being answered gets nothing any more.
    """


class ClaimReturned(Message):
    job_id: int | None  # nothing: the claim took none, or its runner was heard of


class JobVariable(Message):
    key: str
    value: Sensitive
    masked: bool = False
    file: bool = False
    raw: bool = True  # else the runner replaces $NAMES in it, and $$ by one $


class RegistryLogin(Message):
    """At a registry of images."""

    url: str  # a host, or the address that stands for Docker Hub
    username: str
    password: Sensitive


class Dependency(Message):
    """A job whose archive the runner fetches first, with the token of the assignment."""

    job_id: int
    name: str
    file_name: str
    size: int


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
    before_sha: str = ""  # of a push
    protected: bool = False  # its branch is
    served_by_hash: bool = False  # the git server gives the commit by its hash
    project: LaunchedProject
    repository_login: str | None = Field(default=None, repr=False)  # user:password, or a lone token
    script: tuple[str, ...]
    after_script: tuple[str, ...] = ()  # runs after the script, however that ended
    after_script_seconds: int = 0
    variables: tuple[JobVariable, ...]
    registry_logins: tuple[RegistryLogin, ...] = ()
    image: str | None
    timeout_seconds: int
    queued_at: datetime
    delivery_id: str | None = None  # of the webhook whose body the job gets
    artifacts: PlannedArtifacts | None = None
    dependencies: tuple[Dependency, ...] = ()
    container: PlannedImage | None = None
    services: tuple[PlannedImage, ...] = ()
    caches: tuple[PlannedCache, ...] = ()
    traceparent: str = ""  # of the launch: what the runner does may be linked to it


class ClaimResult(Message):
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
    job_status: str  # running, canceling, canceled, failed, success
    length: int  # bytes of the log received
    accepted: bool  # False: the job is over for this token
