"""Runners in GitFlic's API, where they are called agents."""

from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from contracts.runners import OwnerType
from gateway.adapters.gitflic.datetime_formats import LocalTime
from gateway.adapters.gitflic.slices import create_slice_writer
from gateway.forwarding.serializers import ResponseModel, serialize
from gateway.http.json_request import JsonText
from gateway.schemas.json_body import JsonBody
from gateway.schemas.samples import UUID


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]


class Runner(ResponseModel):
    id: str = Field(validation_alias="uuid", description="UUID of the runner", examples=[UUID])
    description: str = Field(examples=["The public website"])
    connectedAt: LocalTime = Field(
        validation_alias="connected_at",
        description="latest contact, in UTC without a zone suffix",
        examples=["2026-03-01T10:15:30.123"],
    )
    active: bool = Field(description="false: the runner is paused and gets no new jobs")
    name: str = Field(examples=["website"])
    platform: Annotated[str, BeforeValidator(_capitalize)] = Field(
        validation_alias=AliasPath("info", "platform"),
        description="as reported by the runner, like Linux or Darwin; empty: not reported",
        examples=["Linux"],
    )
    architecture: str = Field(
        validation_alias=AliasPath("info", "architecture"),
        description="as reported by the runner, like amd64 or arm64; empty: not reported",
        examples=["amd64"],
    )
    ipAddress: str = Field(
        validation_alias="ip_address", description="IP address of the latest contact", examples=["192.0.2.17"]
    )
    tags: tuple[str, ...] = Field(
        description="the runner runs jobs whose tags are all among these", examples=[["docker"]]
    )
    ownerType: OwnerType = Field(
        validation_alias="owner_type",
        description="`GLOBAL`: serves all projects; `COMPANY`, `PROJECT`: serves those of its owner",
    )
    ownerId: int | None = Field(
        validation_alias="owner_id", description="number of the company or project; null for GLOBAL"
    )
    runUntagged: bool = Field(validation_alias="run_untagged", description="whether the runner runs jobs without tags")
    locked: bool = Field(description="true: the runner cannot be assigned to other projects")
    maxTimeoutInSec: int | None = Field(
        validation_alias="max_timeout_seconds",
        description="maximum duration of a job in seconds; null: no limit by the runner",
    )
    protected: bool = Field(description="true: the runner only runs jobs of protected branches")


RUNNER = serialize(Runner)
RUNNER_PAGE = create_slice_writer(Runner, "restPipelineRunnerModelList")


class RunnerFields(JsonBody):
    """Changes of a runner. Null means unchanged. Flags are also accepted by their response names, such as `active`."""

    name: StrictStr | None = Field(None, examples=["machine-1"])
    description: StrictStr | None = Field(None, examples=["The big one"])
    active: StrictBool | None = Field(
        None, alias="isActive", description="false: the runner is paused and gets no new jobs", examples=[True]
    )
    max_timeout_seconds: StrictInt | None = Field(
        None,
        alias="maxTimeoutInSec",
        description="maximum duration of a job in seconds; 0: no limit by the runner",
        examples=[3600],
    )
    tags: tuple[StrictStr, ...] | None = Field(None, description="replaces the whole list", examples=[["docker"]])
    run_untagged: StrictBool | None = Field(
        None, alias="runUntagged", description="whether the runner runs jobs without tags", examples=[True]
    )
    locked: StrictBool | None = Field(
        None,
        alias="isLocked",
        description="true: the runner cannot be assigned to other projects",
        examples=[False],
    )
    protected: StrictBool | None = Field(
        None,
        alias="isProtected",
        description="true: the runner only runs jobs of protected branches",
        examples=[False],
    )

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, sent: Any) -> Any:
        if not isinstance(sent, JsonText):
            return sent
        fields = dict(sent.members)
        for name in ("active", "locked", "protected"):
            long_name = cls.wire_name(name)
            if fields.get(long_name) is None and name in fields:
                fields[long_name] = fields[name]
        return fields
