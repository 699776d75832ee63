"""Routes that list, create, change, delete and run the schedules of a project."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Security

from contracts.projects import (
    MAX_CRON_LENGTH,
    MAX_ZONE_LENGTH,
    ChangeSchedule,
    CreateSchedule,
    DeleteSchedule,
    GetSchedule,
    GetUpcomingRuns,
    ListSchedules,
    RunSchedule,
)
from gateway.dependencies import RequireRole, admin, developer
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.schedule_models import (
    CRON,
    NEW_SCHEDULE,
    ONE_SCHEDULE,
    SCHEDULE,
    SCHEDULES,
    UPCOMING_RUNS,
    ZONE,
)
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

LAUNCH_ERRORS = ("BUILD_REF_INVALID", "BUILD_VARIABLES_INVALID", "BUILD_VARIABLES_RESERVED")
VARIABLE_ERRORS = ("BUILD_VARIABLES_INVALID", "BUILD_VARIABLES_RESERVED")
CRON_ERRORS = (
    "SCHEDULE_CRON_REQUIRED",
    "SCHEDULE_CRON_INVALID",
    "SCHEDULE_CRON_TOO_FREQUENT",
    "SCHEDULE_ZONE_INVALID",
)
COLLECTION, ITEM = "/{project_id:id}/schedules", "/{project_id:id}/schedules/{schedule_id:id}"

developer_schedules = json_router("/api/developer/projects", "Schedules")
admin_schedules = json_router("/api/admin/projects", "Schedules")


async def get_cron(cron: Annotated[str, Query(description=CRON, max_length=MAX_CRON_LENGTH)] = "@daily") -> str:
    return cron


async def get_zone(zone: Annotated[str, Query(description=ZONE, max_length=MAX_ZONE_LENGTH)] = "UTC") -> str:
    return zone


def add_schedule_routes(router: APIRouter, role: RequireRole) -> None:
    reader = Annotated[Actor, Security(role, scopes=["PROJECT_READ"])]
    editor = Annotated[Actor, Security(role, scopes=["PROJECT_EDIT"])]
    launcher = Annotated[Actor, Security(role, scopes=["BUILD_WRITE"])]
    maintainers = " For maintainers of the project." if role is developer else ""
    saved = ReturnMessage(GetSchedule, "schedule_id")
    forward(
        router,
        "GET",
        COLLECTION,
        ListSchedules,
        reader,
        "List the schedules of a project by id, each with its next and its latest run.",
        response=SCHEDULES,
    )
    forward(
        router,
        "GET",
        f"{COLLECTION}/times",
        GetUpcomingRuns,
        reader,
        "Get the next times of a cron expression, without creating a schedule.",
        response=UPCOMING_RUNS,
        errors=CRON_ERRORS,
        cron=Annotated[str, Depends(get_cron)],
        zone=Annotated[str, Depends(get_zone)],
    )
    forward(router, "GET", ITEM, GetSchedule, reader, "Get a schedule.", response=ONE_SCHEDULE)
    forward(
        router,
        "POST",
        COLLECTION,
        CreateSchedule,
        editor,
        f"Create a schedule, which launches builds at the times of a cron expression.{maintainers}",
        body=NEW_SCHEDULE,
        response=ONE_SCHEDULE,
        return_message=saved,
        status_code=201,
        errors=("SCHEDULE_LIMIT", *VARIABLE_ERRORS),
    )
    forward(
        router,
        "PATCH",
        ITEM,
        ChangeSchedule,
        editor,
        "Change fields of a schedule. A missing field is unchanged, null is the default. The user becomes its owner."
        f"{maintainers}",
        body=SCHEDULE,
        response=ONE_SCHEDULE,
        return_message=saved,
        errors=VARIABLE_ERRORS,
    )
    forward(
        router,
        "DELETE",
        ITEM,
        DeleteSchedule,
        editor,
        f"Delete a schedule. Its builds stay.{maintainers}",
        status_code=204,
    )
    forward(
        router,
        "POST",
        f"{ITEM}/run",
        RunSchedule,
        launcher,
        f"Launch a build of a schedule now, also of a paused one. The next due time does not change.{maintainers}",
        response=ONE_SCHEDULE,
        errors=LAUNCH_ERRORS,
    )


add_schedule_routes(developer_schedules, developer)
add_schedule_routes(admin_schedules, admin)
