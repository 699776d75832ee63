"""Handling of webhook requests: signature check, decision, and record of the delivery."""

import hashlib
from uuid import NAMESPACE_URL, uuid4, uuid5

from contracts.errors import RequestRejected
from contracts.identity import AccessList, ListAccess
from contracts.projects import (
    ApproveDelivery,
    DeliveryKey,
    DeliveryView,
    GetDeliveryKey,
    Provider,
    PullRequestBuilds,
    ReceiveWebhook,
    RejectWebhook,
    Sender,
)
from libs.eventstore.decider import SYSTEM, Actor
from libs.eventstore.repository import CommandResult
from libs.permissions.lookups import fetch_company_members
from libs.security.envelopes import InvalidEnvelope, encrypt_for
from libs.security.erased_keys import KeyErased
from libs.security.webhook_signatures import is_signature_valid
from libs.service.declaration import Context
from services.projects.domain import webhook
from services.projects.domain.delivery import ignore_reason
from services.projects.domain.internal_commands import AddDelivery
from services.projects.permissions.access import may_launch
from services.projects.projections import ProjectRow
from services.projects.queries import require_project
from services.projects.webhooks import payloads, rejections
from services.projects.webhooks.delivery_projection import DeliveryRow
from services.projects.webhooks.delivery_queries import load_view

MAX_LABEL_LENGTH = 255  # characters stored of the event name and the forge's delivery id


async def receive_webhook(ctx: Context, command: ReceiveWebhook) -> DeliveryView:
    """Check, decide and record a webhook request. Unauthenticated and unreadable requests leave no event."""
    project = await require_project(ctx, command.project_id)
    try:
        row = await _find_or_record(ctx, project, command)
    except RequestRejected as rejected:
        if rejected.code in rejections.RECORDED_CODES:
            size = len(command.body)
            await rejections.record_rejection(ctx, project.id, command.provider, command.event, size, rejected.code)
        raise
    return await load_view(ctx, row)


async def reject_webhook(ctx: Context, command: RejectWebhook) -> DeliveryView:
    """Record a request that a gateway has rejected, and raise RequestRejected with its code."""
    project = await require_project(ctx, command.project_id)
    await rejections.record_rejection(ctx, project.id, command.provider, command.event, command.size, command.code)
    raise RequestRejected(command.code)


async def get_delivery_key(ctx: Context, query: GetDeliveryKey) -> DeliveryKey:
    """Return the signature key of a project, encrypted for the requesting gateway."""
    project = await require_project(ctx, query.project_id)
    key = await _decrypt_signature_key(ctx, project)
    try:
        return DeliveryKey(encrypted=encrypt_for(key, query.public_key, f"project-{project.id}"))
    except InvalidEnvelope:
        raise RequestRejected("REQUEST_INVALID", "The public key is not an X25519 key.") from None


async def _find_or_record(ctx: Context, project: ProjectRow, command: ReceiveWebhook) -> DeliveryRow:
    """Return the row of the delivery. Record the delivery at its first request.

    The signature is checked before the body is parsed and the delivery is looked up.
    """
    if command.provider is None:
        raise RequestRejected("WEBHOOK_PROVIDER_NOT_SUPPORTED")
    signature_key = await _decrypt_signature_key(ctx, project)
    if not is_signature_valid(command.provider, signature_key, command.proof, command.body):
        raise RequestRejected("WEBHOOK_SIGNATURE_INVALID")
    digest = hashlib.sha256(command.body).hexdigest()
    delivery_id = _derive_delivery_id(command)
    row = await ctx.read_model(DeliveryRow).get(f"delivery-{delivery_id}")
    if row is None:
        row = await _record_delivery(ctx, project, command, command.provider, delivery_id, digest)
    if row.digest != digest:
        raise RequestRejected(
            "IDEMPOTENCY_KEY_REUSED", "A delivery with this id was received before with another body."
        )
    return row


def _derive_delivery_id(command: ReceiveWebhook) -> str:
    """Return the id of the delivery.

    A repeated delivery gets the same id on every replica. Without a forge id each request is a new delivery.
    """
    name = f"delivery/{command.project_id}/{command.provider}/{command.forge_id}"
    return str(uuid5(NAMESPACE_URL, name) if command.forge_id else uuid4())


async def _decrypt_signature_key(ctx: Context, project: ProjectRow) -> str:
    try:
        return await ctx.vault.decrypt(f"project-{project.id}", project.sealed_signature_key)
    except KeyErased:  # the project was deleted concurrently
        raise RequestRejected("PROJECT_NOT_FOUND") from None


async def _record_delivery(
    ctx: Context, project: ProjectRow, command: ReceiveWebhook, provider: Provider, delivery_id: str, digest: str
) -> DeliveryRow:
    content, parsed = webhook.parse_request(provider, command.event, command.content_type, command.body)
    actor, sender = await _identify_sender(ctx, project, provider, parsed.sender)
    builds_requests = project.build_pull_requests is not PullRequestBuilds.NONE
    record = AddDelivery(
        delivery_id=delivery_id,
        project_id=project.id,
        provider=provider,
        event=command.event[:MAX_LABEL_LENGTH],
        forge_id=command.forge_id[:MAX_LABEL_LENGTH],
        branch=project.branch,
        build_tags=project.build_tags,
        change=parsed.change if builds_requests else None,
        build_pull_requests=project.build_pull_requests,
        repository=project.repository,
        sealed_sender=await ctx.vault.encrypt(f"project-{project.id}", parsed.sender) if parsed.sender else "",
        sender=sender,
        push=parsed.push,
        size=len(command.body),
        digest=digest,
    )
    if ignore_reason(record) is None and not _is_of_fork(record):
        # stored before the event is recorded, because the event launches the build, which needs the payload
        await payloads.store_payload(ctx, project.id, delivery_id, content)
    reply = await ctx.send(record, actor=actor)
    return DeliveryRow.model_validate(reply.row)


def _is_of_fork(record: AddDelivery) -> bool:
    """Return whether the delivery is about a commit of a fork. The build of a fork does not get the payload."""
    return record.change is not None and record.change.pull_request.is_fork


async def prepare_approval(ctx: Context, command: ApproveDelivery) -> ApproveDelivery:
    """Return the command. Raises RequestRejected if the project does not exist or does not build forks."""
    project = await require_project(ctx, command.project_id)
    if project.build_pull_requests is not PullRequestBuilds.FORKS:
        raise RequestRejected("DELIVERY_STATUS", "The project does not build pull or merge requests of forks.")
    return command


async def show_approved(ctx: Context, _command: ApproveDelivery, result: CommandResult[DeliveryRow]) -> DeliveryView:
    """Return the approved delivery. Its build is queued."""
    return await load_view(ctx, result.row)


async def _identify_sender(
    ctx: Context, project: ProjectRow, provider: Provider, name: str
) -> tuple[Actor, Sender | None]:
    """Return the user with this name at the forge. Return SYSTEM and None if there is no such user.

    If several users have the name, prefer an enabled one who may launch builds.
    """
    users = (await ctx.query(ListAccess(provider=provider, name=name), AccessList)).users
    members = await fetch_company_members(ctx, project.company_id)
    candidates: list[tuple[Actor, Sender]] = []
    for user in users:
        actor = Actor(user.user_id, user.username, user.roles)
        allowed = may_launch(project, actor, members)
        candidates.append((actor, Sender(user_id=user.user_id, enabled=user.enabled, allowed=allowed)))
    if not candidates:
        return SYSTEM, None
    return max(candidates, key=lambda pair: (pair[1].enabled, pair[1].allowed, -pair[1].user_id))
