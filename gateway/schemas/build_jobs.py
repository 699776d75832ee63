"""Response models for the jobs of a build and their artifacts."""

from pydantic import Field

from contracts.builds import JobStatus
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.samples import MOMENT, UUID


class Job(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    local_id: int | None = Field(description="number within the project; null before the job is queued", examples=[17])
    name: str = Field(examples=["website"])
    stage: str = Field(description="name of the stage; jobs of a stage run together", examples=["build"])
    status: JobStatus = Field(description="current status")
    when: str = Field(description="`on_success`, `on_failure`, `always` or `manual`", examples=["on_success"])
    allow_failure: bool = Field(description="whether the build continues if the job fails")
    attempt: int = Field(description="attempt number, from 1; increased when a job is lost or retried")
    runner: str | None = Field(description="name of the runner; null until assigned", examples=["machine-1"])
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    coverage: float | None = Field(
        None, description="coverage in percent, from the log; null: unknown", examples=[87.5]
    )
    created_at: Moment | None = Field(validation_alias="queued_at", description="when it was queued", examples=[MOMENT])
    started_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])


class Artifact(ResponseModel):
    id: str = Field(description="UUID of the artifact", examples=[UUID])
    artifact_type: str = Field(
        description="`archive`, `junit` and so on; a job has at most one of each type", examples=["archive"]
    )
    artifact_format: str = Field(description="`zip`, `gzip` or `raw`", examples=["zip"])
    file_name: str = Field(description="file name given by the job", examples=["artifacts.zip"])
    size: int = Field(description="size in bytes")
    uploaded_at: Moment = Field(examples=[MOMENT])
    expire_at: Moment | None = Field(description="when the file is deleted; null: with its build", examples=[MOMENT])


JOBS_OF_BUILD = serialize(list[Job])
ARTIFACTS = serialize(list[Artifact], "artifacts")
