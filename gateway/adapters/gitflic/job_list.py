"""Lists of jobs in GitFlic's API: the status filter and the response model."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import AliasPath, BeforeValidator, Field, model_validator

from contracts.builds import JobStatus
from contracts.errors import RequestRejected
from gateway.adapters.gitflic.datetime_formats import Instant
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.context import RequestContext
from gateway.framework.serializers import Shape

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
"""Maps GitFlic's job statuses to those of Headrace. A status without any is accepted but matches no job."""
GITFLIC_STATUS = {status: name for name, statuses in JOB_STATUSES.items() for status in statuses}

PARAMETERS = {"jobStatus": f"only jobs with this status: {', '.join(JOB_STATUSES)}"}


def read_status_filter(context: RequestContext) -> Mapping[str, Any]:
    """Return the statuses that the query parameter `jobStatus` selects. Raises JOB_STATUS_INVALID."""
    status = dict(parse_qsl(context.query.decode("latin-1"))).get("jobStatus", "").upper()
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


class GitFlicJob(Shape):
    id: str = Field(validation_alias="uuid")
    localId: int = Field(validation_alias="local_id")  # noqa: N815  GitFlic's own names
    finishedAt: Instant | None = Field(validation_alias="finished_at")  # noqa: N815
    startedAt: Instant | None = Field(validation_alias="started_at")  # noqa: N815
    name: str
    stageName: str = Field(validation_alias="stage")  # noqa: N815
    ref: Annotated[str, BeforeValidator(_short_ref)]
    tag: Annotated[bool, BeforeValidator(_is_tag)] = Field(validation_alias=AliasPath("ref"))
    erasedAt: None = None  # noqa: N815
    artifactsExpireAt: Annotated[Instant | None, BeforeValidator(_first_expiry)] = Field(  # noqa: N815
        validation_alias="artifacts"
    )
    status: Annotated[str, BeforeValidator(GITFLIC_STATUS.__getitem__)]
    pipelineLocalId: int = Field(validation_alias="build_local_id")  # noqa: N815

    @model_validator(mode="before")
    @classmethod
    def _apply_allowed_failure(cls, row: Any) -> Any:
        return {**row, "status": JobStatus.WARNING} if row.get("failure_allowed") else row


JOB_PAGE = create_slice_writer(GitFlicJob, "restPipelineJobModelList")
