"""Lists of jobs in GitFlic's API: the status filter and the response model."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import AliasPath, BeforeValidator, Field, model_validator

from contracts.builds import JobStatus
from contracts.errors import RequestRejected
from gateway.adapters.gitflic.datetime_formats import Instant
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.forwarding.serializers import ResponseModel
from gateway.schemas.samples import MOMENT, UUID

JOB_STATUSES: Mapping[str, tuple[JobStatus, ...]] = {
    "CREATED": (),
    "PENDING": (JobStatus.QUEUED,),
    "WAITING_FOR_RESOURCE": (),
    "RUNNING": (JobStatus.ASSIGNED, JobStatus.RUNNING, JobStatus.CANCELING),
    "SUCCESS": (JobStatus.SUCCESS,),
    "FAILED": (JobStatus.FAILED,),
    "CANCELED": (JobStatus.CANCELED,),
    "SKIPPED": (),
    "MANUAL": (),
    "WARNING": (JobStatus.WARNING,),
}
"""GitFlic's job status -> Headrace's statuses. A status without any is accepted but matches no job."""
GITFLIC_STATUS = {status: name for name, statuses in JOB_STATUSES.items() for status in statuses}


async def read_status_filter(
    job_status: Annotated[
        str, Query(alias="jobStatus", description=f"only jobs with this status: {', '.join(JOB_STATUSES)}")
    ] = "",
) -> Mapping[str, Any]:
    """Return the statuses that the query parameter selects, as the field `statuses`. Raises JOB_STATUS_INVALID."""
    status = job_status.upper()
    if not status:
        return {}
    if status not in JOB_STATUSES:
        raise RequestRejected("JOB_STATUS_INVALID", f"jobStatus must be one of {', '.join(JOB_STATUSES)}.")
    return {"statuses": JOB_STATUSES[status]}


def _is_tag(ref: str) -> bool:
    return ref.startswith("refs/tags/")


def _short_ref(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _first_expiry(artifacts: list[Mapping[str, Any]]) -> str | None:
    return min((artifact["expire_at"] for artifact in artifacts if artifact["expire_at"]), default=None)


class GitFlicJob(ResponseModel):
    id: str = Field(validation_alias="uuid", description="UUID of the job", examples=[UUID])
    localId: int = Field(validation_alias="local_id", description="number within the project")
    finishedAt: Instant | None = Field(
        validation_alias="finished_at", description="null until finished", examples=[MOMENT]
    )
    startedAt: Instant | None = Field(
        validation_alias="started_at",
        description="when a runner started it; null before",
        examples=[MOMENT],
    )
    name: str = Field(examples=["website"])
    stageName: str = Field(
        validation_alias="stage", description="name of the stage; jobs of a stage run together", examples=["build"]
    )
    ref: Annotated[str, BeforeValidator(_short_ref)] = Field(
        description="name of the branch or tag", examples=["refs/heads/main"]
    )
    tag: Annotated[bool, BeforeValidator(_is_tag)] = Field(
        validation_alias=AliasPath("ref"), description="whether the ref is a tag"
    )
    erasedAt: None = Field(None, description="always null")
    artifactsExpireAt: Annotated[Instant | None, BeforeValidator(_first_expiry)] = Field(
        validation_alias="artifacts",
        description="when the first of the job's artifacts expires; null: none does",
        examples=[MOMENT],
    )
    status: Annotated[str, BeforeValidator(GITFLIC_STATUS.__getitem__)] = Field(
        description="`PENDING`, `RUNNING`, `SUCCESS`, `WARNING` (an allowed failure), `FAILED` or `CANCELED`",
        examples=["SUCCESS"],
    )
    pipelineLocalId: int = Field(
        validation_alias="build_local_id", description="number of the build within its project"
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_allowed_failure(cls, row: Any) -> Any:
        return {**row, "status": JobStatus.WARNING} if row.get("failure_allowed") else row


JOB_PAGE = create_slice_writer(GitFlicJob, "restPipelineJobModelList")
