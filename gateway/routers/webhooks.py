"""The route that receives webhooks, and routes that list their deliveries and approve builds of forks."""

from typing import Annotated

from fastapi import Depends, Header, Request, Security
from starlette.responses import Response

from contracts.projects import ApproveDelivery, DeliveryDecision, GetDelivery, ListDeliveries
from gateway.adapters.forge_webhooks import DELIVERY_PAGE, MAX_BODY_BYTES, ONE_DELIVERY, Receipt, receive
from gateway.dependencies import State, admin, developer, limit_refusals
from gateway.errors import ANY_ROUTE, WRITES, errors
from gateway.forwarding.forward import forward
from gateway.http.json_request import read_body
from gateway.routers.free_commit.page_routes import forward_page
from gateway.routers.prefix_router import PrefixRouter
from gateway.schemas.path_parameters import ProjectId
from libs.eventstore.decider import Actor

AdminReader = Annotated[Actor, Security(admin, scopes=["PROJECT_READ"])]
AdminEditor = Annotated[Actor, Security(admin, scopes=["PROJECT_EDIT"])]
Reader = Annotated[Actor, Security(developer, scopes=["PROJECT_READ"])]
Editor = Annotated[Actor, Security(developer, scopes=["PROJECT_EDIT"])]

guests = PrefixRouter(prefix="/api/guest/webhooks", tags=["Webhooks"])
developer_deliveries = PrefixRouter(prefix="/api/developer/projects", tags=["Webhooks"])
project_deliveries = PrefixRouter(prefix="/api/admin/projects", tags=["Webhooks"])
deliveries = PrefixRouter(prefix="/api/admin/deliveries", tags=["Webhooks"])


@guests.post(
    "/build/{project_id:id}",
    status_code=201,
    response_model=Receipt,
    summary="Receive a webhook. Responds 201 if it queued a build, or 200 if it is genuine but starts no build now.",
    responses={
        200: {"model": Receipt, "description": "The webhook is genuine, but starts no build."},
        **errors(
            *ANY_ROUTE,
            *WRITES,
            "NOT_FOUND",
            "PROJECT_NOT_FOUND",
            "WEBHOOK_PROVIDER_NOT_SUPPORTED",
            "WEBHOOK_SIGNATURE_INVALID",
            "WEBHOOK_PAYLOAD_INVALID",
            "IDEMPOTENCY_KEY_INVALID",
            "IDEMPOTENCY_KEY_REUSED",
        ),
    },
    dependencies=[Depends(limit_refusals)],
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def receive_webhook(
    project_id: ProjectId,
    state: State,
    request: Request,
    x_github_event: Annotated[
        str | None, Header(description="GitHub's event name; `push` and `pull_request` start builds")
    ] = None,
    x_hub_signature_256: Annotated[
        str | None,
        Header(description="`sha256=` and the HMAC-SHA256 of the body with the project's signature key, in hex"),
    ] = None,
    x_github_delivery: Annotated[
        str | None, Header(description="GitHub's delivery id: a repeated delivery gets the first one's response")
    ] = None,
    x_gitlab_event: Annotated[
        str | None,
        Header(description="GitLab's event name; `Push Hook`, `Tag Push Hook` and `Merge Request Hook` start builds"),
    ] = None,
    x_gitlab_token: Annotated[str | None, Header(description="the project's signature key")] = None,
    x_gitlab_event_uuid: Annotated[str | None, Header(description="GitLab's event id")] = None,
    idempotency_key: Annotated[
        str | None, Header(description="delivery id; takes precedence over X-Gitlab-Event-UUID")
    ] = None,
) -> Response:
    """The adapter reads the headers; the parameters only document them."""
    body = await read_body(request, MAX_BODY_BYTES)
    delivery = await receive(state.bus, dict(request.scope["headers"]), project_id, body)
    receipt = Receipt.model_validate(delivery.model_dump(mode="json"))
    status_code = 201 if delivery.decision is DeliveryDecision.ACCEPTED else 200
    return Response(receipt.model_dump_json(), status_code, media_type="application/json")


for router, reader, editor, whom in (
    (project_deliveries, AdminReader, AdminEditor, ""),
    (developer_deliveries, Reader, Editor, " For maintainers of the project."),
):
    forward_page(
        router,
        "/{project_id:id}/deliveries",
        ListDeliveries,
        reader,
        "List the deliveries of a project, newest first. Filter columns: provider, event, decision, code, ref, sha."
        + whom,
        DELIVERY_PAGE,
    )
    forward(
        router,
        "POST",
        "/{project_id:id}/deliveries/{delivery_id}/approve",
        ApproveDelivery,
        editor,
        f"Queue the build of a fork's commit, whose delivery is `WAITING`. Its jobs get no secrets.{whom}",
        response=ONE_DELIVERY,
        errors=("DELIVERY_NOT_FOUND", "DELIVERY_STATUS"),
    )
forward(
    deliveries,
    "GET",
    "/{delivery_id}",
    GetDelivery,
    AdminReader,
    "Get a webhook delivery and the decision about it.",
    response=ONE_DELIVERY,
    errors=("DELIVERY_NOT_FOUND",),
)
