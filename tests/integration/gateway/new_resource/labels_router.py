"""The routes of the sample resource `labels`."""

from typing import Annotated

from fastapi import APIRouter, Security
from pydantic import Field
from starlette.responses import Response

from gateway.dependencies import Bus, admin, developer
from gateway.errors import READ_ERRORS, errors
from gateway.forwarding.changes import forward_change
from gateway.forwarding.forward import forward
from gateway.forwarding.serializers import ResponseModel, serialize
from gateway.routers.prefix_router import json_router
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Text
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage
from tests.integration.gateway.new_resource.labels import (
    CreateLabel,
    DeleteLabel,
    GetLabel,
    ListLabels,
    RenameLabel,
)

Reader = Annotated[Actor, Security(developer, scopes=["PROJECT_READ"])]
Writer = Annotated[Actor, Security(admin, scopes=["PROJECT_WRITE"])]


class LabelFields(Fields):
    name: Text = Field(None, description="unique name", examples=["urgent"])


class Label(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    name: str = Field(examples=["urgent"])


LABEL = envelope("label", LabelFields)
ONE_LABEL, LABELS = serialize(Label), serialize(list[Label], "labels")
written = ReturnMessage(GetLabel, "label_id")


def create_router() -> APIRouter:
    """Return the router. In the product, a router is created when its module is imported."""
    router = json_router("/api/labels", "Labels")

    @router.get("", response_model=LABELS.model, summary="List all labels by id.", responses=errors(*READ_ERRORS))
    async def list_labels(user: Reader, bus: Bus) -> Response:
        return await bus.respond(ListLabels(), user, LABELS)

    forward(router, "GET", "/{label_id:id}", GetLabel, Reader, "Get a label.", response=ONE_LABEL)
    forward(
        router,
        "POST",
        "",
        CreateLabel,
        Writer,
        "Create a label.",
        body=LABEL,
        response=ONE_LABEL,
        return_message=written,
        status_code=201,
        errors=("LABEL_NAME_TAKEN",),
    )
    forward_change(
        router,
        "/{label_id:id}",
        "name",
        RenameLabel,
        "Change the label's name.",
        body=LABEL,
        user=Writer,
        response=ONE_LABEL,
        return_message=written,
        errors=("LABEL_NAME_TAKEN",),
    )
    forward(router, "DELETE", "/{label_id:id}", DeleteLabel, Writer, "Delete a label.", status_code=204)
    return router
