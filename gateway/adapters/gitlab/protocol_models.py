"""Requests and responses of GitLab's runner protocol."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.runners import RegisterRunner, RunnerInfo
from gateway.adapters.gitlab.field_types import (
    AccessLevel,
    FailureReason,
    Flag,
    Integer,
    JobState,
    Object,
    OptionalObject,
    Tags,
    Text,
)
from gateway.forwarding.forward import build_message
from gateway.http.json_request import JsonText

MAX_LOG_END_LENGTH = 128 * 1024  # characters of base64; Headrace's agent sends at most 64 KiB of log


class RunnerBody(BaseModel):
    """The body of a request, JSON or a form."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, sent: Any) -> Any:
        return sent.members if isinstance(sent, JsonText) else sent


class ReportedInfo(RunnerInfo):
    """A runner's description of itself, with the optional features that it supports."""

    features: Object = None

    def has_feature(self, name: str) -> bool:
        return (self.features or {}).get(name) is True

    def to_runner_info(self) -> RunnerInfo:
        return RunnerInfo.model_validate(self.model_dump())


Info = Annotated[ReportedInfo | None, OptionalObject]


class RegisterRunnerRequest(RunnerBody):
    model_config = ConfigDict(json_schema_extra={"required": ["token"]})

    token: Text = Field("", description="registration token")
    name: Text = ""
    description: Text = ""
    tag_list: Tags = Field((), description="list, or a string separated by commas")
    run_untagged: Flag = None
    locked: Flag = None
    access_level: AccessLevel = "not_protected"
    maximum_timeout: Integer = Field(None, description="maximum duration of a job in seconds")
    active: Flag = Field(None, description="sent before version 15.0 of GitLab Runner, instead of `paused`")
    paused: Flag = None
    info: Info = None

    def to_command(self, ip_address: str) -> RegisterRunner:
        """Return the command. Raises RequestValidationError if a field exceeds the limits of the command."""
        command: RegisterRunner = build_message(
            RegisterRunner,
            {
                "registration_token": self.token,
                "name": self.name[:255],
                "description": self.description,
                "tags": self.tag_list,
                "run_untagged": self.run_untagged is not False,
                "locked": bool(self.locked),
                "protected": self.access_level == "ref_protected",
                "active": self.active is not False and not self.paused,
                "max_timeout_seconds": self.maximum_timeout or None,
                "info": self.info.to_runner_info() if self.info else RunnerInfo(),
                "ip_address": ip_address,
            },
        )
        return command


class RunnerTokenRequest(RunnerBody):
    model_config = ConfigDict(json_schema_extra={"required": ["token"]})

    token: Text = Field("", description="the runner's token; also in the header RUNNER-TOKEN")
    info: Info = None


class JobRequest(RunnerTokenRequest):
    last_update: Annotated[str, BeforeValidator(str)] = Field(
        "", description="`X-GitLab-Last-Update` of the previous response"
    )

    def has_feature(self, name: str) -> bool:
        return self.info is not None and self.info.has_feature(name)


class JobOutput(RunnerBody):
    checksum: Text = Field("", description="CRC-32 of the log")
    bytesize: Integer = Field(None, description="size of the log in bytes")


class JobLogEnd(RunnerBody):
    offset: Integer = Field(None, description="position in bytes")
    content: Text = Field("", max_length=MAX_LOG_END_LENGTH, description="in base64")


class JobUpdateRequest(RunnerBody):
    model_config = ConfigDict(json_schema_extra={"required": ["state"]})

    token: Text = Field("", description="the job's token; also in the header JOB-TOKEN")
    state: JobState = Field(None, validate_default=True)
    exit_code: Integer = None
    failure_reason: FailureReason = ""
    checksum: Text = Field("", description="CRC-32 of the log")
    output: Annotated[JobOutput | None, OptionalObject] = None
    log_end: Annotated[JobLogEnd | None, OptionalObject] = Field(
        None, description="the rest of the log, if the job has the feature `log_end`"
    )


class RunnerCredentials(BaseModel):
    id: int
    token: str
    token_expires_at: str | None  # in RFC 3339 with seconds, as runners expect


class UploadedArtifact(BaseModel):
    id: str
    file_name: str
    size: int = Field(description="size in bytes")


class RunnerErrorBody(BaseModel):
    """The body of an error response to a runner."""

    message: str = Field(description="explanation of the error")


class JobPayload(BaseModel):
    """A job with its script, variables and credentials, as GitLab's runners read it."""

    id: int
    token: str = Field(description="the job's token")
    job_info: dict[str, Any]
    git_info: dict[str, Any]
    variables: list[dict[str, Any]]
    steps: list[dict[str, Any]]


REFERENCED_MODELS: tuple[type[BaseModel], ...] = (RunnerErrorBody,)
"""Models that the documentation of routes refers to by name."""
