"""Routes of builds: one build with all details, and lists across projects."""

from typing import Annotated, Any

from fastapi import Depends, Query, Security
from pydantic import Field

from contracts.builds import (
    MAX_BUILDS_PER_PAGE,
    MAX_CASES_PER_PAGE,
    MAX_LISTED_DELIVERIES,
    MAX_LISTED_PROJECTS,
    MAX_RECENT_BUILDS,
    BuildStatus,
    CaseStatus,
    GetBuildOverview,
    ListBuilds,
    ListBuildTests,
    ListRecentBuilds,
)
from contracts.errors import RequestRejected
from gateway.dependencies import developer
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.build_lists import BUILD_PAGE, RECENT_BUILDS
from gateway.schemas.console.build_overviews import BUILD_DETAILS
from gateway.schemas.console.reported_tests import BUILD_TESTS
from gateway.schemas.loose_types import MAX_ID, parse_time
from libs.eventstore.decider import Actor

SCOPES = ["BUILD_READ"]
Reader = Annotated[Actor, Security(developer, scopes=SCOPES)]
ProjectIds = Annotated[
    list[Annotated[int, Field(ge=0, le=MAX_ID)]],
    Query(alias="project", description="number of a project; can be repeated", max_length=MAX_LISTED_PROJECTS),
]
Time = Annotated[str, Query(description="time of the launch: ISO 8601, UTC if it has no zone")]

router = json_router("/api/developer/builds", "Builds")


async def get_filter(
    user: Annotated[Actor, Depends(developer)],
    projects_id: ProjectIds = [],  # noqa: B006  FastAPI copies it
    statuses: Annotated[
        list[BuildStatus],
        Query(alias="status", description="status of the builds; can be repeated", max_length=len(BuildStatus)),
    ] = [],  # noqa: B006
    sources: Annotated[
        list[str],
        Query(alias="source", description="`push`, `web`, `api` or `schedule`; can be repeated", max_length=10),
    ] = [],  # noqa: B006
    ref: Annotated[
        str | None, Query(description="name of a branch or tag, or `refs/...`; needs one `project`", max_length=1024)
    ] = None,
    initiator: Annotated[
        str | None, Query(description="number of the user who launched the builds, or `me`", pattern=r"^(me|\d{1,18})$")
    ] = None,
    since: Time = "",
    until: Time = "",
    deliveries_id: Annotated[
        list[Annotated[str, Field(max_length=36)]],
        Query(
            alias="delivery",
            description="UUID of the webhook delivery that launched the build; can be repeated",
            max_length=MAX_LISTED_DELIVERIES,
        ),
    ] = [],  # noqa: B006
) -> dict[str, Any]:
    """Return the fields of ListBuilds. Raises REQUEST_INVALID or REQUEST_MALFORMED."""
    if ref and len(projects_id) != 1:
        raise RequestRejected("REQUEST_INVALID", "ref needs exactly one project.")
    return {
        "projects_id": projects_id,
        "statuses": statuses,
        "sources": sources,
        "ref": ref or None,
        "initiator_id": user.id if initiator == "me" else int(initiator) if initiator else None,
        "since": parse_time("since", since) if since else None,
        "until": parse_time("until", until) if until else None,
        "deliveries_id": deliveries_id,
    }


async def get_page(
    after: Annotated[str, Query(description="`next` of the previous page", max_length=1024)] = "",
    limit: Annotated[int, Query(description="maximum number of builds", ge=1, le=MAX_BUILDS_PER_PAGE)] = 50,
) -> dict[str, Any]:
    return {"after": after, "limit": limit}


async def get_test_page(
    statuses: Annotated[
        list[CaseStatus],
        Query(alias="status", description="result of the tests; can be repeated", max_length=len(CaseStatus)),
    ] = [],  # noqa: B006
    after: Annotated[str, Query(description="`next` of the previous page", max_length=1024)] = "",
    limit: Annotated[int, Query(description="maximum number of tests", ge=1, le=MAX_CASES_PER_PAGE)] = 100,
) -> dict[str, Any]:
    return {"statuses": statuses, "after": after, "limit": limit}


async def get_recent(
    projects_id: ProjectIds = [],  # noqa: B006
    limit: Annotated[int, Query(description="builds of each project", ge=1, le=MAX_RECENT_BUILDS)] = 30,
) -> dict[str, Any]:
    return {"projects_id": projects_id, "limit": limit}


forward(
    router,
    "GET",
    "",
    ListBuilds,
    Reader,
    "List builds of all projects that the user may see, newest first.",
    response=BUILD_PAGE,
    fields=(Security(get_filter, scopes=SCOPES), Depends(get_page)),
    errors=("REQUEST_INVALID", "REQUEST_MALFORMED", "PAGINATION_CURSOR_INVALID"),
)
forward(
    router,
    "GET",
    "/recent",
    ListRecentBuilds,
    Reader,
    "List the newest builds of several projects. Projects that the user may not see are left out.",
    response=RECENT_BUILDS,
    fields=(Depends(get_recent),),
    errors=("REQUEST_INVALID",),
)
forward(
    router,
    "GET",
    "/{build_id:id}/overview",
    GetBuildOverview,
    Reader,
    "Get a build with all its jobs, their attempts, steps and artifacts, and why they wait.",
    response=BUILD_DETAILS,
)
forward(
    router,
    "GET",
    "/{build_id:id}/tests",
    ListBuildTests,
    Reader,
    "List the tests of a build from the JUnit reports of its jobs, failed ones first.",
    response=BUILD_TESTS,
    fields=(Depends(get_test_page),),
    errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
)
