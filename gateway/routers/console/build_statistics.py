"""Routes of statistics: builds by day, the flakiest and slowest jobs, and the flaky and slowest tests."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Security

from contracts.builds import MAX_DAYS, MAX_EXAMINED_BUILDS, GetBuildStatistics, GetTestStatistics
from gateway.dependencies import developer
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.reported_tests import CASE_STATISTICS
from gateway.schemas.console.statistics_view import BUILD_STATISTICS
from gateway.schemas.loose_types import MAX_ID
from libs.eventstore.decider import Actor

DEFAULT_DAYS = 30

Reader = Annotated[Actor, Security(developer, scopes=["BUILD_READ"])]

router = json_router("/api/developer/statistics", "Builds")
tests_of_project = json_router("/api/developer/projects", "Builds")


async def get_period(
    project: Annotated[int | None, Query(description="number of a project; default: all", ge=0, le=MAX_ID)] = None,
    first_day: Annotated[
        date | None,
        Query(alias="from", description=f"first day (UTC), like `2026-03-01`; default: {DEFAULT_DAYS} days"),
    ] = None,
    last_day: Annotated[
        date | None, Query(alias="to", description=f"last day, at most {MAX_DAYS} days in all; default: today")
    ] = None,
    _bucket: Annotated[Literal["day"], Query(alias="bucket", description="length of a bucket")] = "day",
) -> dict[str, Any]:
    last = last_day or datetime.now(UTC).date()
    first = first_day or max(last, date(1, 2, 1)) - timedelta(days=DEFAULT_DAYS - 1)
    return {"project_id": project, "first_day": first, "last_day": last}


async def get_examined_builds(
    builds: Annotated[
        int, Query(description="number of latest builds with reports", ge=1, le=MAX_EXAMINED_BUILDS)
    ] = 50,
) -> dict[str, Any]:
    return {"builds": builds}


forward(
    router,
    "GET",
    "/builds",
    GetBuildStatistics,
    Reader,
    "Count builds by day and outcome, with percentiles of their times, and list flaky and slow jobs.",
    response=BUILD_STATISTICS,
    fields=(Depends(get_period),),
    errors=("REQUEST_INVALID", "PROJECT_NOT_FOUND"),
)
forward(
    tests_of_project,
    "GET",
    "/{project_id:id}/tests",
    GetTestStatistics,
    Reader,
    "Find the flaky and the slowest tests in the latest builds of a project.",
    response=CASE_STATISTICS,
    fields=(Depends(get_examined_builds),),
    errors=("REQUEST_INVALID",),
)
