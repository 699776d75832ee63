"""Deliveries: what forges report by webhook, what was decided about it, and the request's body for the build."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Base64Bytes, Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import PageQuery
from contracts.projects.fields import Name

Provider = Literal["github", "gitlab"]

IGNORE_REASONS: dict[str, str] = {
    "WEBHOOK_SENDER_UNKNOWN": "No user of this server has the sender's name at the forge.",
    "WEBHOOK_SENDER_DISABLED": "The sender's user is disabled.",
    "WEBHOOK_SENDER_NOT_ALLOWED": "The sender's user may not launch builds of the project.",
    "WEBHOOK_EVENT_IGNORED": "Only pushes build.",
    "WEBHOOK_REF_IGNORED": "Only pushes of branches build: this one is of a tag, or of nothing.",
    "WEBHOOK_BRANCH_DELETED": "The push deleted the branch.",
    "WEBHOOK_BRANCH_IGNORED": "The push is of another branch than the project's.",
}
"""Codes of deliveries that were understood and build nothing, with their meaning. No errors: the status is 200."""


class DeliveryDecision(StrEnum):
    ACCEPTED = "ACCEPTED"  # a build is queued
    IGNORED = "IGNORED"  # genuine, and not for us
    REFUSED = "REFUSED"  # not from the forge, or not readable


class ReceiveWebhook(Command, wire_name="ReceiveDelivery"):
    """A webhook's request, as it came. Answered with the DeliveryView; one that comes again is answered as before.

    Refused with the code of the first rule it breaks. Gateways send what they have found to be signed; the signature is
    checked again.
    """

    project_id: int
    provider: Provider | None  # nothing: no forge that is known
    event: str  # as the forge calls it
    forge_id: str  # the forge's own id of the delivery; empty: it gave none
    proof: Sensitive  # GitHub: the signature; GitLab: the token
    content_type: str
    body: Base64Bytes = Field(repr=False)


class GetDeliveryKey(Query):
    """The signature key of a project for a gateway, which checks requests before their bodies cross the bus."""

    project_id: int
    public_key: str  # X25519, base64: the answer is encrypted for it


class DeliveryKey(Message):
    encrypted: str  # HPKE, base64


class RejectWebhook(Command, wire_name="RefuseDelivery"):
    """Count a request that a gateway has found not to be from the forge. Always refused with its code."""

    project_id: int
    provider: Provider | None
    event: str
    size: int  # bytes of the body
    code: Literal["WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID"]


class Sender(Message):
    """The user who has the sender's name at the forge."""

    user_id: int
    enabled: bool
    allowed: bool  # may launch builds of the project


class Push(Message):
    """A push as the forge tells it; what is missing or unreadable is empty."""

    ref: str  # refs/heads/... or refs/tags/...
    sha: str  # the commit that the ref names after it; empty where the push deleted the ref
    deleted: bool
    before: str = ""  # the commit that it named until then; empty for a new one


class RecordDelivery(Command):
    """The recorded half of ReceiveDelivery for what the forge has proven; the service gives it to itself."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: Name
    forge_id: Name
    branch: str  # the project's; "*": any
    sealed_sender: str  # the name at the forge, under the project's key; empty: none
    sender: Sender | None
    push: Push | None  # nothing: another event
    size: int  # bytes of the body
    digest: str  # SHA-256 of the body


class DeliveryAccepted(Event):
    """A push that is built: a build with the delivery's id as its executor_id follows."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    sealed_sender: str
    user_id: int
    ref: str
    sha: str
    before_sha: str = ""  # what the ref named until then
    size: int
    digest: str


class DeliveryIgnored(Event):
    """Genuine, and not for us; the code says why."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    sealed_sender: str
    user_id: int | None = None
    ref: str | None = None
    sha: str | None = None
    size: int
    digest: str
    code: str


class DeliveryRejected(Event, wire_name="DeliveryRefused"):
    """Not from the forge, or not readable. Recorded up to 0.2.0: refused deliveries are no longer in the log."""

    delivery_id: str
    project_id: int
    provider: Provider | None = None
    event: str
    size: int
    code: str
    unrecorded: int = 0  # refused before this one, and only counted because they were too many


class DeliveryView(Message):
    """All that is known of a delivery, without its signature or token."""

    id: str
    project_id: int
    provider: Provider | None
    event: str
    forge_id: str | None
    sender: str | None  # the name at the forge
    user_id: int | None
    ref: str | None
    sha: str | None
    decision: DeliveryDecision
    code: str | None  # nothing: accepted
    reason: str  # the decision in words
    executor_id: str | None  # of the build
    body_size: int  # bytes
    unrecorded: int  # refused shortly before this one, and only counted
    refused_total: int | None = None  # of a refused one: how many of the project were refused up to this one
    received_at: datetime


class GetDelivery(Query):
    """Refused DELIVERY_NOT_FOUND, also where its project is gone."""

    delivery_id: str


class ListDeliveries(PageQuery, wire_name="PageDeliveries"):
    """Deliveries of a project, newest first. Columns to filter by: provider, event, decision, code, ref, sha."""

    project_id: int


class GetWebhookPayload(Query, wire_name="GetRequestBody"):
    """The JSON that the build's delivery brought, as bytes; empty where the build is over or the project gone."""

    delivery_id: str


DeliveryCommand = RecordDelivery
DeliveryEvent = DeliveryAccepted | DeliveryIgnored | DeliveryRejected
