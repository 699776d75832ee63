"""The schedules of a project: request body and responses."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from contracts.projects import MAX_CRON_LENGTH, MAX_UPCOMING_RUNS, MAX_ZONE_LENGTH, ScheduleVariable
from gateway.adapters.free_commit.request_fields import at_most
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.build_launch import BuildVariable
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Boolean, Text
from gateway.schemas.samples import MOMENT

CRON = "minute, hour, day of the month, month and day of the week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, ..."
ZONE = "name in the IANA time zone database, in which the expression is evaluated"


def _to_messages(variables: Iterable[BuildVariable] | None) -> tuple[ScheduleVariable, ...]:
    return tuple(ScheduleVariable(name=variable.name, value=variable.value) for variable in variables or ())


Variables = Annotated[tuple[BuildVariable, ...] | None, AfterValidator(_to_messages)]


class NewScheduleFields(Fields):
    model_config = ConfigDict(json_schema_extra={"required": ["cron"]})

    cron: Text = Field(None, description=CRON, examples=["30 2 * * 1-5"], json_schema_extra=at_most(MAX_CRON_LENGTH))
    zone: Text = Field(
        None, description=f"{ZONE}; null: UTC", examples=["Europe/Berlin"], json_schema_extra=at_most(MAX_ZONE_LENGTH)
    )
    branch: Text = Field(
        None,
        description="branch to build; null: that of the project",
        examples=["main"],
        json_schema_extra=at_most(255),
    )
    variables: Variables = Field(
        None,
        description="environment variables of all jobs, as in a launch",
        examples=[[{"name": "DEPLOY_TARGET", "value": "staging"}]],
        json_schema_extra=at_most(50, items=True),
    )
    description: Text = Field(
        None,
        description="shown with the schedule and its builds",
        examples=["Nightly tests"],
        json_schema_extra=at_most(255),
    )
    active: Boolean = Field(None, description="false: paused, no builds are launched; null: true", examples=[True])


class ScheduleFields(NewScheduleFields):
    model_config = ConfigDict(json_schema_extra={"required": []})


class ProjectSchedule(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    project_id: int = Field(description="number of the project", examples=[17])
    cron: str = Field(description=CRON, examples=["30 2 * * 1-5"])
    zone: str = Field(description=ZONE, examples=["Europe/Berlin"])
    branch: str | None = Field(description="branch to build; null: that of the project", examples=["main"])
    variables: tuple[BuildVariable, ...] = Field(description="environment variables of all jobs")
    description: str = Field(description="may be empty", examples=["Nightly tests"])
    active: bool = Field(description="false: paused")
    owner_id: int = Field(description="number of the user who created the schedule or changed it last", examples=[17])
    owner_name: str = Field(description="current username; `deleted user` after a deletion", examples=["ivan"])
    created_at: Moment = Field(description="when the schedule was created", examples=[MOMENT])
    next_run_at: Moment | None = Field(description="when the next build is launched; null: paused", examples=[MOMENT])
    last_run_at: Moment | None = Field(
        description="time of the latest launch or attempt; null: none", examples=[MOMENT]
    )
    last_build_id: int | None = Field(description="build of the latest run; null: it launched none", examples=[17])
    last_error: str | None = Field(
        description="code of the error because of which the latest run launched no build",
        examples=["BUILD_REF_INVALID"],
    )
    last_error_detail: str | None = Field(description="explanation of the error")


class UpcomingRuns(ResponseModel):
    times: tuple[Moment, ...] = Field(
        description=f"the next {MAX_UPCOMING_RUNS} times, in UTC", examples=[[MOMENT]], max_length=MAX_UPCOMING_RUNS
    )


NEW_SCHEDULE: Any = envelope("schedule", NewScheduleFields)
SCHEDULE: Any = envelope("schedule", ScheduleFields)
ONE_SCHEDULE = serialize(ProjectSchedule)
SCHEDULES = serialize(list[ProjectSchedule], "schedules")
UPCOMING_RUNS = serialize(UpcomingRuns)
