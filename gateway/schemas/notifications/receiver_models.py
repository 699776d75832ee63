"""The receivers of a project's notifications: request bodies and responses."""

from typing import Any

from pydantic import ConfigDict, Field

from contracts.notifications import MAX_SIGNING_SECRET_LENGTH, MAX_URL_LENGTH, Occasion
from gateway.adapters.free_commit.request_fields import at_most
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Boolean, Text, Texts
from gateway.schemas.notifications.outgoing_requests import OutgoingRequest
from gateway.schemas.samples import MOMENT

EVENTS = "`started`, `finished`, `failed`, `fixed` (success after a failure on the same branch)"


class ReceiverFields(Fields):
    url: Text = Field(
        None,
        description="http(s) URL, which is never shown again",
        examples=["https://hooks.example.org/headrace"],
        json_schema_extra=at_most(MAX_URL_LENGTH),
    )
    secret: Text = Field(
        None,
        description="signs webhooks, and is never shown; 16 characters or more, or `whsec_` and base64",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
        json_schema_extra=at_most(MAX_SIGNING_SECRET_LENGTH),
    )
    events: Texts = Field(
        None,
        description=f"{EVENTS}; null: `failed` and `fixed`",
        examples=[["failed", "fixed"]],
        json_schema_extra=at_most(len(Occasion), items=True),
    )
    active: Boolean = Field(None, description="false: nothing is sent; null: true", examples=[True])


class NewReceiverFields(ReceiverFields):
    model_config = ConfigDict(json_schema_extra={"required": ["url"]})

    kind: Text = Field(
        None,
        description="`webhook`: CloudEvents; `slack`: chat messages for Slack or Mattermost; null: `webhook`",
        examples=["webhook"],
    )


class Receiver(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    project_id: int = Field(description="number of the project", examples=[17])
    kind: str = Field(description="`webhook` or `slack`", examples=["webhook"])
    server: str = Field(description="scheme, host and port of the URL", examples=["https://hooks.example.org"])
    events: tuple[str, ...] = Field(description=EVENTS, examples=[["failed", "fixed"]])
    active: bool = Field(description="false: nothing is sent")
    created_at: Moment = Field(description="when the receiver was created", examples=[MOMENT])
    last_delivery: OutgoingRequest | None = Field(description="the latest request; null: none")


NEW_RECEIVER: Any = envelope("receiver", NewReceiverFields)
RECEIVER: Any = envelope("receiver", ReceiverFields)
ONE_RECEIVER = serialize(Receiver)
RECEIVERS = serialize(list[Receiver], "receivers")
