"""Webhooks of forges: how they are received, the models of their deliveries, and what they start in a project."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from pydantic import Field

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
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.json_body import Fields, envelope
from gateway.schemas.loose_types import Boolean, Text
from gateway.schemas.samples import MOMENT, UUID
from libs.messaging.request_reply import MessageClient
from libs.security.envelopes import Recipient
from libs.security.webhook_signatures import is_signature_valid

# limit of a webhook's body; in base64 with line breaks, this fits into a NATS message of 8 MiB
MAX_BODY_BYTES = 5 * 1024 * 1024
TIMEOUT_SECONDS = 7.0  # timeout of a delivery's handling; with KEY_TIMEOUT_SECONDS, less than the 10 s that forges wait
KEY_TIMEOUT_SECONDS = 2.0  # timeout of the query for the signature key
MAX_UNCHECKED_BYTES = 64 * 1024  # larger bodies are not forwarded without a signature check if the key query times out


@dataclass(frozen=True)
class ForgeHeaders:
    """The names of the HTTP headers that a forge sends with a webhook."""

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


class Receipt(ResponseModel):
    decision: DeliveryDecision = Field(
        description="`ACCEPTED`: a build was queued; `IGNORED`: genuine, but no build is due; "
        "`WAITING`: a maintainer has to approve the build; `REFUSED`: rejected"
    )
    code: str | None = Field(description="why the delivery was ignored, like WEBHOOK_BRANCH_IGNORED; null: accepted")
    reason: str = Field(description="explanation in English", examples=["A build of 4b825dc6 on main is queued."])
    delivery_id: str = Field(
        validation_alias="id",
        description="UUID of the delivery, for `/admin/deliveries/{delivery_id}`",
        examples=[UUID],
    )
    executor_id: str | None = Field(description="UUID of the queued build; null: none", examples=[UUID])


class DeliveredPullRequest(ResponseModel):
    number: int = Field(description="number at the forge", examples=[7])
    title: str = Field(examples=["Turn the wheel faster"])
    source_branch: str = Field(examples=["faster"])
    target_branch: str = Field(examples=["main"])
    is_fork: bool = Field(description="whether the source branch is in another repository")


class Delivery(ResponseModel):
    id: str = Field(description="UUID of the delivery", examples=[UUID])
    project_id: int = Field(description="number of the project", examples=[17])
    provider: Literal["github", "gitlab"] | None = Field(description="null: unknown forge")
    event: str = Field(examples=["push"])
    forge_id: str | None = Field(description="the forge's own id of the delivery", examples=[UUID])
    sender: str | None = Field(description="username at the forge", examples=["ivan"])
    user_id: int | None = Field(description="number of the user; null: unknown", examples=[17])
    ref: str | None = Field(
        description="`refs/heads/...`, `refs/tags/...`, or the head of a pull request", examples=["refs/heads/main"]
    )
    sha: str | None = Field(
        description="commit; null until it is resolved", examples=["4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f"]
    )
    decision: DeliveryDecision = Field(
        description="`ACCEPTED`: a build was queued; `IGNORED`: genuine, but no build is due; "
        "`WAITING`: a maintainer has to approve the build; `REFUSED`: rejected"
    )
    code: str | None = Field(
        description="why the delivery was ignored or rejected, like WEBHOOK_SENDER_UNKNOWN; null: accepted"
    )
    reason: str = Field(description="explanation in English", examples=["A build of 4b825dc6 on main is queued."])
    executor_id: str | None = Field(description="UUID of the queued build; null: none", examples=[UUID])
    body_size: int = Field(description="size in bytes")
    unrecorded: int = Field(
        description="number of deliveries rejected shortly before this one and only counted, because of their rate"
    )
    refused_total: int | None = Field(
        None, description="number of rejected deliveries of the project up to this one; null: this one was not rejected"
    )
    pull_request: DeliveredPullRequest | None = Field(None, description="pull or merge request; null: another event")
    received_at: Moment = Field(examples=[MOMENT])


class TriggerFields(Fields):
    superseded_builds: Text = Field(
        None,
        description="builds that a newer push of the branch cancels: `keep` (none), `waiting` or `all`",
        examples=["waiting"],
    )
    build_pull_requests: Text = Field(
        None,
        description="pull and merge requests to build: `none`, those of `branches` of the repository, or those of "
        "`forks`, too, after approval",
        examples=["branches"],
    )
    build_tags: Boolean = Field(None, description="whether a push of a tag starts a build", examples=[True])


TRIGGERS = envelope("triggers", TriggerFields)

ONE_DELIVERY, DELIVERY_PAGE = serialize(Delivery), create_page_writer(Delivery)


async def receive(bus: MessageClient, headers: Mapping[bytes, bytes], project_id: int, body: bytes) -> DeliveryView:
    """Check a webhook's signature and send the webhook to the service. Raises the errors of ReceiveWebhook."""
    forge = next((candidate for candidate in FORGES if candidate.event in headers), None)
    expected = forge or UNKNOWN_FORGE
    message = ReceiveWebhook(
        project_id=project_id,
        provider=forge and forge.provider,
        event=_read_header(headers, expected.event),
        forge_id=next((value for name in expected.delivery_ids if (value := _read_header(headers, name))), ""),
        proof=_read_header(headers, expected.signature),
        content_type=_read_header(headers, b"content-type"),
        body=base64.b64encode(body),
    )
    await _verify_signature(bus, message, body)
    # The delivery's id is not used as command id: an attacker could send it first, and the genuine delivery would then
    # be treated as a repetition.
    return DeliveryView.model_validate_json(await bus.send(message, timeout=TIMEOUT_SECONDS))


async def _verify_signature(bus: MessageClient, message: ReceiveWebhook, body: bytes) -> None:
    """Check the signature before the body is sent over NATS.

    If the key query gets no answer, the body is passed on unchecked: the service checks the signature, too. After a
    timeout, this applies only to bodies of at most MAX_UNCHECKED_BYTES. Raises PROJECT_NOT_FOUND,
    WEBHOOK_PROVIDER_NOT_SUPPORTED, WEBHOOK_SIGNATURE_INVALID, and SERVICE_TIMEOUT for larger bodies.
    """
    if message.provider is None:
        await _reject(bus, message, "WEBHOOK_PROVIDER_NOT_SUPPORTED", len(body))
    recipient = Recipient.create()
    query = GetDeliveryKey(project_id=message.project_id, public_key=recipient.public_key)
    try:
        answer = await bus.query(query, timeout=KEY_TIMEOUT_SECONDS)
    except RequestRejected as rejection:
        # Release 0.2.0 of the service does not answer this query, nor do its NATS permissions allow it. It checks
        # signatures itself.
        may_forward = rejection.code == "SERVICE_TIMEOUT" and len(body) <= MAX_UNCHECKED_BYTES
        if may_forward or rejection.code == "SERVICE_UNAVAILABLE":
            return
        raise
    key = recipient.decrypt(DeliveryKey.model_validate_json(answer).encrypted, f"project-{message.project_id}")
    if not is_signature_valid(message.provider, key, message.proof, body):
        await _reject(bus, message, "WEBHOOK_SIGNATURE_INVALID", len(body))


RejectionCode = Literal["WEBHOOK_PROVIDER_NOT_SUPPORTED", "WEBHOOK_SIGNATURE_INVALID"]


async def _reject(bus: MessageClient, message: ReceiveWebhook, code: RejectionCode, size: int) -> NoReturn:
    command = RejectWebhook(
        project_id=message.project_id,
        provider=message.provider,
        event=message.event,
        size=size,
        code=code,
    )
    await bus.send(command, timeout=TIMEOUT_SECONDS)
    raise RequestRejected(code)


def _read_header(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
