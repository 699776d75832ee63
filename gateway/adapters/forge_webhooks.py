"""Webhooks as GitHub and GitLab send them, and their deliveries as administrators read them."""

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

MAX_BODY_BYTES = 5 * 1024 * 1024  # bytes; base64 of it, with its line ends, fits into one message of 8 MiB
TIMEOUT_SECONDS = 7.0  # seconds; with the other two before it, forges give up after ten
KEY_TIMEOUT_SECONDS = 2.0
MAX_UNCHECKED_BYTES = 64 * 1024  # bytes of a body that is sent where the key could not be asked for
ERROR_CODES = (
    "PROJECT_NOT_FOUND",
    "WEBHOOK_PROVIDER_NOT_SUPPORTED",
    "WEBHOOK_SIGNATURE_INVALID",
    "WEBHOOK_PAYLOAD_INVALID",
    "IDEMPOTENCY_KEY_INVALID",
    "IDEMPOTENCY_KEY_REUSED",
)
HEADER_DESCRIPTIONS = {
    "X-GitHub-Event": "GitHub's name of the event; `push` builds",
    "X-Hub-Signature-256": "`sha256=` and the HMAC-SHA256 of the body under the project's signature key, in hex",
    "X-GitHub-Delivery": "GitHub's id of the delivery: one that comes again is answered as before",
    "X-Gitlab-Event": "GitLab's name of the event; `Push Hook` builds",
    "X-Gitlab-Token": "the project's signature key",
    "X-Gitlab-Event-UUID": "GitLab's id of the event",
    "Idempotency-Key": "the id of the delivery; counts before GitLab's own",
}


@dataclass(frozen=True)
class ForgeHeaders:
    """Names of headers."""

    provider: Provider
    event: bytes
    signature: bytes
    delivery_ids: tuple[bytes, ...]  # the first that was sent counts


FORGES = (
    ForgeHeaders("github", b"x-github-event", b"x-hub-signature-256", (b"x-github-delivery", b"idempotency-key")),
    # GitLab keeps the key when it sends again; the event's id is shared by hooks that cause each other
    ForgeHeaders("gitlab", b"x-gitlab-event", b"x-gitlab-token", (b"idempotency-key", b"x-gitlab-event-uuid")),
)
UNKNOWN_FORGE = ForgeHeaders("github", b"", b"", ())


class Receipt(Shape):
    decision: DeliveryDecision
    code: str | None  # why it was ignored
    reason: str  # in words
    delivery_id: str = Field(validation_alias="id")
    executor_id: str | None  # of the queued build


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


async def receive_webhook(asked: RequestContext) -> Response:
    """201 queued a build; 200 is genuine, and not for us."""
    headers = asked.headers
    forge = next((one for one in FORGES if one.event in headers), None)
    named = forge or UNKNOWN_FORGE
    message = ReceiveWebhook(
        project_id=asked.path_params["project_id"],
        provider=forge and forge.provider,
        event=_read_header(headers, named.event),
        forge_id=next((found for name in named.delivery_ids if (found := _read_header(headers, name))), ""),
        proof=_read_header(headers, named.signature),
        content_type=_read_header(headers, b"content-type"),
        body=base64.b64encode(asked.raw_body),
    )
    await _verify_signature(asked, message)
    # told without a command id: what a stranger sends must not take the place of what the forge sends
    answer = await asked.state.bus.send(message, timeout=TIMEOUT_SECONDS)
    accepted = DeliveryView.model_validate_json(answer).decision is DeliveryDecision.ACCEPTED
    return Response(RECEIPT(answer, asked, message), 201 if accepted else 200, media_type="application/json")


async def _verify_signature(asked: RequestContext, message: ReceiveWebhook) -> None:
    """Check the signature here: of a sender who does not know the key no body crosses the bus."""
    if message.provider is None:
        await _reject(asked, message, "WEBHOOK_PROVIDER_NOT_SUPPORTED")
    recipient = Recipient.create()
    query = GetDeliveryKey(project_id=message.project_id, public_key=recipient.public_key)
    try:
        answer = await asked.state.bus.query(query, timeout=KEY_TIMEOUT_SECONDS)
    except RequestRejected as refused:
        # a service of 0.2.0 does not answer this and checks the signature itself, nor may a gateway ask it with the
        # permissions of NATS of 0.2.0; what costs little is sent unchecked
        unanswered = refused.code == "SERVICE_TIMEOUT" and len(asked.raw_body) <= MAX_UNCHECKED_BYTES
        if unanswered or refused.code == "SERVICE_UNAVAILABLE":
            return
        raise
    key = recipient.decrypt(DeliveryKey.model_validate_json(answer).encrypted, f"project-{message.project_id}")
    if not is_signature_valid(message.provider, key, message.proof, asked.raw_body):
        await _reject(asked, message, "WEBHOOK_SIGNATURE_INVALID")


RejectionCode = Literal["WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID"]


async def _reject(asked: RequestContext, message: ReceiveWebhook, code: RejectionCode) -> NoReturn:
    refusal = RejectWebhook(
        project_id=message.project_id,
        provider=message.provider,
        event=message.event,
        size=len(asked.raw_body),
        code=code,
    )
    await asked.state.bus.send(refusal, timeout=TIMEOUT_SECONDS)
    raise RequestRejected(code)


def _read_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
