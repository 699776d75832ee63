"""Jobs, as GitFlic has them."""

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
"""GitFlic's words and what they are here; some never happen."""
GITFLIC_STATUS = {status: word for word, ours in JOB_STATUSES.items() for status in ours}

PARAMETERS = {"jobStatus": f"only jobs in this status: {', '.join(JOB_STATUSES)}"}


def read_status_filter(asked: RequestContext) -> Mapping[str, Any]:
    word = dict(parse_qsl(asked.query.decode("latin-1"))).get("jobStatus", "").upper()
    if not word:
        return {}
    if word not in JOB_STATUSES:
        raise RequestRejected("JOB_STATUS_INVALID", f"A job is {', '.join(JOB_STATUSES)}.")
    return {"statuses": JOB_STATUSES[word]}


def _is_tag(ref: str) -> bool:
    return ref.startswith("refs/tags/")


def _short_ref(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _first_expiry(artifacts: list[Mapping[str, Any]]) -> str | None:
    return min((one["expire_at"] for one in artifacts if one["expire_at"]), default=None)


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
