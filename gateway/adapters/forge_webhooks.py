"""Receives webhooks of GitHub and GitLab, and defines the response models of deliveries."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import Field
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.projects import (
    DeliveryDecision,
    DeliveryKey,
    DeliveryView,
    GetDeliveryKey,
    Provider,
    ReceiveWebhook,
    RejectWebhook,
)
from gateway.adapters.free_commit.paging import create_page_writer
from gateway.context import RequestContext
from gateway.framework.serializers import Moment, Shape, shaped
from libs.security.envelopes import Recipient
from libs.security.webhook_signatures import is_signature_valid

# limit of a webhook's body; in base64 with line breaks, this fits into a NATS message of 8 MiB
MAX_BODY_BYTES = 5 * 1024 * 1024
TIMEOUT_SECONDS = 7.0  # for handling a delivery; with KEY_TIMEOUT_SECONDS less than the 10 seconds that forges wait
KEY_TIMEOUT_SECONDS = 2.0  # for the query of the signature key
MAX_UNCHECKED_BYTES = 64 * 1024  # largest body that is forwarded without a signature check if the key query times out
ERROR_CODES = (
    "PROJECT_NOT_FOUND",
    "WEBHOOK_PROVIDER_NOT_SUPPORTED",
    "WEBHOOK_SIGNATURE_INVALID",
    "WEBHOOK_PAYLOAD_INVALID",
    "IDEMPOTENCY_KEY_INVALID",
    "IDEMPOTENCY_KEY_REUSED",
)
HEADER_DESCRIPTIONS = {
    "X-GitHub-Event": "GitHub's event name; `push` starts builds",
    "X-Hub-Signature-256": "`sha256=` and the HMAC-SHA256 of the body with the project's signature key, in hex",
    "X-GitHub-Delivery": "GitHub's delivery id: a repeated delivery gets the first one's response",
    "X-Gitlab-Event": "GitLab's event name; `Push Hook` starts builds",
    "X-Gitlab-Token": "the project's signature key",
    "X-Gitlab-Event-UUID": "GitLab's event id",
    "Idempotency-Key": "delivery id; takes precedence over X-Gitlab-Event-UUID",
}


@dataclass(frozen=True)
class ForgeHeaders:
    """The HTTP headers that a forge sends with a webhook."""

    provider: Provider
    event: bytes
    signature: bytes
    delivery_ids: tuple[bytes, ...]  # headers with the delivery's id, in order of precedence


FORGES = (
    ForgeHeaders("github", b"x-github-event", b"x-hub-signature-256", (b"x-github-delivery", b"idempotency-key")),
    # Idempotency-Key first: retries keep it, whereas webhooks that trigger each other share X-Gitlab-Event-UUID
    ForgeHeaders("gitlab", b"x-gitlab-event", b"x-gitlab-token", (b"idempotency-key", b"x-gitlab-event-uuid")),
)
UNKNOWN_FORGE = ForgeHeaders("github", b"", b"", ())


class Receipt(Shape):
    decision: DeliveryDecision
    code: str | None  # error code if the delivery was ignored
    reason: str  # explanation in English
    delivery_id: str = Field(validation_alias="id")
    executor_id: str | None  # id of the queued build; None: the delivery was ignored


class Delivery(Shape):
    id: str
    project_id: int
    provider: Literal["github", "gitlab"] | None
    event: str
    forge_id: str | None
    sender: str | None
    user_id: int | None
    ref: str | None
    sha: str | None
    decision: DeliveryDecision
    code: str | None
    reason: str
    executor_id: str | None
    body_size: int
    unrecorded: int
    refused_total: int | None = None
    received_at: Moment


RECEIPT, ONE_DELIVERY, DELIVERY_PAGE = shaped(Receipt), shaped(Delivery), create_page_writer(Delivery)


async def receive_webhook(context: RequestContext) -> Response:
    """Receive a webhook. Responds 201 if it queued a build, or 200 if it is genuine but starts no build."""
    headers = context.headers
    forge = next((candidate for candidate in FORGES if candidate.event in headers), None)
    expected = forge or UNKNOWN_FORGE
    message = ReceiveWebhook(
        project_id=context.path_params["project_id"],
        provider=forge and forge.provider,
        event=_read_header(headers, expected.event),
        forge_id=next((value for name in expected.delivery_ids if (value := _read_header(headers, name))), ""),
        proof=_read_header(headers, expected.signature),
        content_type=_read_header(headers, b"content-type"),
        body=base64.b64encode(context.raw_body),
    )
    await _verify_signature(context, message)
    # The delivery's id is not used as command id: an attacker could send it first, and the genuine delivery would then
    # be treated as a repetition.
    answer = await context.state.bus.send(message, timeout=TIMEOUT_SECONDS)
    accepted = DeliveryView.model_validate_json(answer).decision is DeliveryDecision.ACCEPTED
    return Response(RECEIPT(answer, context, message), 201 if accepted else 200, media_type="application/json")


async def _verify_signature(context: RequestContext, message: ReceiveWebhook) -> None:
    """Check the signature before the body is sent over NATS. Raises WEBHOOK_SIGNATURE_INVALID, among others."""
    if message.provider is None:
        await _reject(context, message, "WEBHOOK_PROVIDER_NOT_SUPPORTED")
    recipient = Recipient.create()
    query = GetDeliveryKey(project_id=message.project_id, public_key=recipient.public_key)
    try:
        answer = await context.state.bus.query(query, timeout=KEY_TIMEOUT_SECONDS)
    except RequestRejected as rejection:
        # Release 0.2.0 of the service does not answer this query, nor do its NATS permissions allow it. Small bodies
        # are then forwarded unchecked: that release checks signatures itself.
        may_forward = rejection.code == "SERVICE_TIMEOUT" and len(context.raw_body) <= MAX_UNCHECKED_BYTES
        if may_forward or rejection.code == "SERVICE_UNAVAILABLE":
            return
        raise
    key = recipient.decrypt(DeliveryKey.model_validate_json(answer).encrypted, f"project-{message.project_id}")
    if not is_signature_valid(message.provider, key, message.proof, context.raw_body):
        await _reject(context, message, "WEBHOOK_SIGNATURE_INVALID")


RejectionCode = Literal["WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID"]


async def _reject(context: RequestContext, message: ReceiveWebhook, code: RejectionCode) -> NoReturn:
    command = RejectWebhook(
        project_id=message.project_id,
        provider=message.provider,
        event=message.event,
        size=len(context.raw_body),
        code=code,
    )
    await context.state.bus.send(command, timeout=TIMEOUT_SECONDS)
    raise RequestRejected(code)


def _read_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
