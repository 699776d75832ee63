"""Routes of the receivers of a project's notifications, of the requests to them and the forge, and of mail rules."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Security

from contracts.notifications import (
    ChangeMailRule,
    ChangeReceiver,
    CreateReceiver,
    DeleteReceiver,
    GetMailRule,
    GetReceiver,
    ListOutgoing,
    ListReceivers,
    RepeatOutgoing,
)
from gateway.dependencies import RequireRole, admin, any_user, developer
from gateway.forwarding.forward import forward
from gateway.routers.console.mails import get_page
from gateway.routers.prefix_router import json_router
from gateway.schemas.loose_types import MAX_ID
from gateway.schemas.notifications.mail_rule_models import MAIL_RULE, ONE_MAIL_RULE
from gateway.schemas.notifications.outgoing_requests import ONE_OUTGOING_REQUEST, OUTGOING_PAGE
from gateway.schemas.notifications.receiver_models import NEW_RECEIVER, ONE_RECEIVER, RECEIVER, RECEIVERS
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

COLLECTION, ITEM = "/{project_id:id}/receivers", "/{project_id:id}/receivers/{receiver_id:id}"
REQUESTS = "/{project_id:id}/outgoing-requests"

developer_receivers = json_router("/api/developer/projects", "Notifications")
own_mail_rules = json_router("/api/user/projects", "Notifications")
admin_receivers = json_router("/api/admin/projects", "Notifications")


async def get_filters(
    receiver: Annotated[int | None, Query(description="number of a receiver", ge=1, le=MAX_ID)] = None,
    kind: Annotated[str | None, Query(description="`commit_status`, `webhook` or `slack`", max_length=64)] = None,
) -> dict[str, Any]:
    return {"receiver_id": receiver, "kind": kind}


def add_receiver_routes(router: APIRouter, role: RequireRole) -> None:
    reader: Any = Annotated[Actor, Security(role, scopes=["PROJECT_READ"])]
    editor: Any = Annotated[Actor, Security(role, scopes=["PROJECT_EDIT"])]
    maintainers = " For maintainers of the project." if role is developer else ""
    saved = ReturnMessage(GetReceiver, "receiver_id")
    forward(
        router,
        "GET",
        COLLECTION,
        ListReceivers,
        reader,
        f"List the receivers of notifications by id, each with the latest request to it.{maintainers}",
        response=RECEIVERS,
    )
    forward(
        router,
        "POST",
        COLLECTION,
        CreateReceiver,
        editor,
        f"Create a receiver: a URL that gets webhooks or chat messages about builds.{maintainers}",
        body=NEW_RECEIVER,
        response=ONE_RECEIVER,
        return_message=saved,
        status_code=201,
        errors=("RECEIVER_LIMIT",),
    )
    forward(
        router,
        "PATCH",
        ITEM,
        ChangeReceiver,
        editor,
        f"Change fields of a receiver. A missing field is unchanged, null is the default.{maintainers}",
        body=RECEIVER,
        response=ONE_RECEIVER,
        return_message=saved,
    )
    forward(router, "DELETE", ITEM, DeleteReceiver, editor, f"Delete a receiver.{maintainers}", status_code=204)
    forward(
        router,
        "GET",
        REQUESTS,
        ListOutgoing,
        reader,
        f"List the requests to receivers and to the project's forge, newest first.{maintainers}",
        response=OUTGOING_PAGE,
        fields=(Depends(get_page), Depends(get_filters)),
        errors=("REQUEST_INVALID", "PAGINATION_CURSOR_INVALID"),
    )


forward(
    developer_receivers,
    "POST",
    f"{REQUESTS}/{{outgoing_request_id}}/repeat",
    RepeatOutgoing,
    Annotated[Actor, Security(developer, scopes=["PROJECT_EDIT"])],
    "Send a request again, as a new one. For maintainers of the project.",
    response=ONE_OUTGOING_REQUEST,
    status_code=201,
    errors=("OUTGOING_REQUEST_STATUS",),
)
forward(
    own_mail_rules,
    "GET",
    "/{project_id:id}/mail-rule",
    GetMailRule,
    Annotated[Actor, Security(any_user, scopes=["PROJECT_READ"])],
    "Get the user's own mail rule of a project: about which builds the user gets mails.",
    response=ONE_MAIL_RULE,
)
forward(
    own_mail_rules,
    "PATCH",
    "/{project_id:id}/mail-rule",
    ChangeMailRule,
    Annotated[Actor, Security(any_user, scopes=["PROJECT_EDIT"])],
    "Change the user's own mail rule of a project. A missing field is unchanged, null is the default.",
    body=MAIL_RULE,
    response=ONE_MAIL_RULE,
)

add_receiver_routes(developer_receivers, developer)
add_receiver_routes(admin_receivers, admin)
