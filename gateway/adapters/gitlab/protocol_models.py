"""Models that document GitLab's runner protocol. `runner_api` parses the requests without them, to accept more."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class RunnerInfoFields(BaseModel):
    name: str | None = None
    version: str | None = None
    platform: str | None = None
    architecture: str | None = None
    executor: str | None = None
    features: dict[str, Any] | None = None


class RegisterRunnerRequest(BaseModel):
    token: str = Field(description="registration token")
    description: str | None = None
    tag_list: list[str] | str | None = Field(None, description="list, or a string separated by commas")
    run_untagged: bool | None = None
    locked: bool | None = None
    access_level: Literal["not_protected", "ref_protected"] | None = None
    maximum_timeout: int | None = Field(None, description="maximum duration of a job in seconds")
    paused: bool | None = None
    info: RunnerInfoFields | None = None


class RunnerTokenRequest(BaseModel):
    token: str = Field(description="the runner's token; also in the header RUNNER-TOKEN")


class JobRequest(RunnerTokenRequest):
    last_update: str | None = Field(None, description="`X-GitLab-Last-Update` of the previous response")
    info: RunnerInfoFields | None = None


class JobUpdateRequest(BaseModel):
    token: str | None = Field(None, description="the job's token; also in the header JOB-TOKEN")
    state: Literal["running", "success", "failed"]
    exit_code: int | None = None
    failure_reason: str | None = None
    checksum: str | None = Field(None, description="CRC-32 of the log")
    output: dict[str, Any] | None = Field(None, description="`checksum` and `bytesize` of the log")


class RunnerCredentials(BaseModel):
    id: int
    token: str
    token_expires_at: str | None


class UploadedArtifact(BaseModel):
    id: str
    file_name: str
    size: int = Field(description="size in bytes")


class RunnerErrorBody(BaseModel):
    message: str = Field(description="explanation of the error")


class JobPayload(BaseModel):
    """A job with its script, variables and credentials, as GitLab's runners read it."""

    id: int
    token: str = Field(description="the job's token")
    job_info: dict[str, Any]
    git_info: dict[str, Any]
    variables: list[dict[str, Any]]
    steps: list[dict[str, Any]]


REFERENCED_MODELS: tuple[type[BaseModel], ...] = (
    RegisterRunnerRequest,
    RunnerTokenRequest,
    JobRequest,
    JobUpdateRequest,
    RunnerErrorBody,
)
"""Models that the documentation of routes refers to by name."""
