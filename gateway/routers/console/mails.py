"""The lists of mails and of requests to forges, with the result of each."""

from typing import Annotated, Any

from fastapi import Depends, Query, Security

from contracts.notifications import ListNotifications, ListOutgoing
from gateway.dependencies import admin, developer
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.account import NOTIFICATION_PAGE, OUTGOING_PAGE
from libs.eventstore.decider import Actor

MAX_PAGE_SIZE = 200

router = json_router("/api/admin/notifications", "Server")
outgoing = json_router("/api/admin/outgoing-requests", "Server")
outgoing_of_project = json_router("/api/developer/projects", "Projects")
outgoing_of_any_project = json_router("/api/admin/projects", "Projects")


async def get_page(
    after: Annotated[str, Query(description="`next` of the previous page", max_length=1024)] = "",
    limit: Annotated[int, Query(description="maximum number of rows", ge=1, le=MAX_PAGE_SIZE)] = 50,
) -> dict[str, Any]:
    return {"after": after, "limit": limit}


forward(
    router,
    "GET",
    "",
    ListNotifications,
    Annotated[Actor, Security(admin, scopes=["SERVER_READ"])],
    "List mails, newest first, with the reason why one was not sent.",
    response=NOTIFICATION_PAGE,
    fields=(Depends(get_page),),
    errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
)
forward(
    outgoing,
    "GET",
    "",
    ListOutgoing,
    Annotated[Actor, Security(admin, scopes=["SERVER_READ"])],
    "List requests to forges, newest first, with the reason why one was not sent.",
    response=OUTGOING_PAGE,
    fields=(Depends(get_page),),
    errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
)
for router_of_project, role in ((outgoing_of_project, developer), (outgoing_of_any_project, admin)):
    forward(
        router_of_project,
        "GET",
        "/{project_id:id}/outgoing-requests",
        ListOutgoing,
        Annotated[Actor, Security(role, scopes=["PROJECT_READ"])],
        "List the requests to the project's forge, newest first. For maintainers of the project.",
        response=OUTGOING_PAGE,
        fields=(Depends(get_page),),
        errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
    )
