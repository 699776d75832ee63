"""The lists of mails and of requests to other servers, with the result of each."""

from typing import Annotated, Any

from fastapi import Depends, Query, Security

from contracts.notifications import ListNotifications, ListOutgoing
from gateway.dependencies import admin
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import json_router
from gateway.schemas.console.account import NOTIFICATION_PAGE
from gateway.schemas.notifications.outgoing_requests import OUTGOING_PAGE
from libs.eventstore.decider import Actor

MAX_PAGE_SIZE = 200

router = json_router("/api/admin/notifications", "Server")
outgoing = json_router("/api/admin/outgoing-requests", "Server")


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
    "List requests to other servers, newest first, with the reason why one was not sent.",
    response=OUTGOING_PAGE,
    fields=(Depends(get_page),),
    errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
)
