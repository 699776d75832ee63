"""Deliveries: proving and reading them, keeping the bodies of those that build, and the answers about them."""

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from contracts.builds import BuildFinished, GetBuild
from contracts.errors import RequestRejected
from contracts.identity import AccessList, ListAccess
from contracts.messages import Page
from contracts.projects import (
    DeliveryKey,
    DeliveryView,
    GetDelivery,
    GetDeliveryKey,
    GetWebhookPayload,
    ListDeliveries,
    Provider,
    ReceiveWebhook,
    RecordDelivery,
    RejectWebhook,
    Sender,
)
from libs.eventstore.decider import SYSTEM, Actor, RecordedEvent
from libs.projections.paging import Column, Condition, build_conditions, combine_conditions, skip_and_limit
from libs.security.envelopes import InvalidEnvelope, encrypt_for
from libs.security.erased_keys import KeyErased
from libs.security.webhook_signatures import is_signature_valid
from libs.service.declaration import Context
from services.projects.commands import fetch_company_members, may_launch, require_project
from services.projects.domain import webhook
from services.projects.domain.delivery import ignore_reason
from services.projects.projections import ProjectRow
from services.projects.webhooks import rejections
from services.projects.webhooks.delivery_projection import DeliveryRow, to_delivery_view

MAX_LABEL_LENGTH = 255  # characters kept of what a request calls itself
ORPHAN_AGE = timedelta(hours=1)
NEWEST_FIRST = (("received_at", -1), ("id", -1))
FILTER_COLUMNS = {name: Column(name) for name in ("provider", "event", "decision", "code", "ref", "sha")}


async def receive_delivery(ctx: Context, command: ReceiveWebhook) -> DeliveryView:
    project = await require_project(ctx, command.project_id)
    try:
        row = await _find_or_record(ctx, project, command)
    except RequestRejected as refused:
        if refused.code in rejections.RECORDED_CODES:
            size = len(command.body)
            await rejections.record_rejection(ctx, project.id, command.provider, command.event, size, refused.code)
        raise
    return await _load_view(ctx, row)


async def reject_delivery(ctx: Context, command: RejectWebhook) -> DeliveryView:
    project = await require_project(ctx, command.project_id)
    await rejections.record_rejection(ctx, project.id, command.provider, command.event, command.size, command.code)
    raise RequestRejected(command.code)


async def get_delivery_key(ctx: Context, query: GetDeliveryKey) -> DeliveryKey:
    project = await require_project(ctx, query.project_id)
    key = await _decrypt_signature_key(ctx, project)
    try:
        return DeliveryKey(encrypted=encrypt_for(key, query.public_key, f"project-{project.id}"))
    except InvalidEnvelope:
        raise RequestRejected("REQUEST_INVALID", "The public key is not an X25519 key.") from None


async def _find_or_record(ctx: Context, project: ProjectRow, command: ReceiveWebhook) -> DeliveryRow:
    """Nothing is read, looked up or taken for known before the signature is right."""
    if command.provider is None:
        raise RequestRejected("WEBHOOK_PROVIDER_NOT_SUPPORTED")
    if not is_signature_valid(
        command.provider, await _decrypt_signature_key(ctx, project), command.proof, command.body
    ):
        raise RequestRejected("WEBHOOK_SIGNATURE_INVALID")
    digest = hashlib.sha256(command.body).hexdigest()
    delivery_id = _derive_delivery_id(command)
    row: DeliveryRow | None = await ctx.read_model("delivery").get(f"delivery-{delivery_id}")
    if row is None:
        row = await _record_delivery(ctx, project, command, command.provider, delivery_id, digest)
    if row.digest != digest:
        raise RequestRejected("IDEMPOTENCY_KEY_REUSED", "A delivery with this id had another body.")
    return row


def _derive_delivery_id(command: ReceiveWebhook) -> str:
    """Whichever replica a delivery comes to again finds the same stream; one without a name is new."""
    name = f"delivery/{command.project_id}/{command.provider}/{command.forge_id}"
    return str(uuid5(NAMESPACE_URL, name) if command.forge_id else uuid4())


async def _decrypt_signature_key(ctx: Context, project: ProjectRow) -> str:
    try:
        return await ctx.vault.decrypt(f"project-{project.id}", project.sealed_signature_key)
    except KeyErased:  # deleted this very moment
        raise RequestRejected("PROJECT_NOT_FOUND") from None


async def _record_delivery(
    ctx: Context, project: ProjectRow, command: ReceiveWebhook, provider: Provider, delivery_id: str, digest: str
) -> DeliveryRow:
    content, report = webhook.parse_request(provider, command.event, command.content_type, command.body)
    user, sender = await _identify_sender(ctx, project, provider, report.sender)
    record = RecordDelivery(
        delivery_id=delivery_id,
        project_id=project.id,
        provider=provider,
        event=command.event[:MAX_LABEL_LENGTH],
        forge_id=command.forge_id[:MAX_LABEL_LENGTH],
        branch=project.branch,
        sealed_sender=await ctx.vault.encrypt(f"project-{project.id}", report.sender) if report.sender else "",
        sender=sender,
        push=report.push,
        size=len(command.body),
        digest=digest,
    )
    if ignore_reason(record) is None:
        # before the event: what is accepted has its body, and what was kept in vain is found by `forget_strays`
        kept = {"project_id": project.id, "body": content, "at": ctx.clock.database_time()}
        await ctx.collection("request_bodies").replace_one({"_id": delivery_id}, kept, upsert=True)
    done = await ctx.send(record, actor=user)
    return DeliveryRow.model_validate(done.row)


async def _identify_sender(
    ctx: Context, project: ProjectRow, provider: Provider, name: str
) -> tuple[Actor, Sender | None]:
    """Names at a forge are not unique here: of several users one who may launch stands for all."""
    found = AccessList.model_validate(await ctx.query(ListAccess(provider=provider, name=name))).users
    members = await fetch_company_members(ctx, project.company_id)
    users = [(Actor(one.user_id, one.username, one.roles), one.enabled) for one in found]
    senders = [
        (user, Sender(user_id=user.id, enabled=enabled, allowed=may_launch(project, user, members)))
        for user, enabled in users
    ]
    return max(senders, key=lambda one: (one[1].enabled, one[1].allowed, -one[1].user_id), default=(SYSTEM, None))


# answers


async def get_delivery(ctx: Context, query: GetDelivery) -> DeliveryView:
    row: DeliveryRow | None = await ctx.read_model("delivery").get(f"delivery-{query.delivery_id}")
    row = row or await rejections.find_rejection(ctx, query.delivery_id)
    if row is None or await ctx.read_model("project").get(f"project-{row.project_id}") is None:
        raise RequestRejected("DELIVERY_NOT_FOUND")
    return await _load_view(ctx, row)


async def page_deliveries(ctx: Context, query: ListDeliveries) -> Page:
    project = await require_project(ctx, query.project_id)
    chosen = combine_conditions(query, build_conditions(query, FILTER_COLUMNS))
    wanted = {"$and": [{"project_id": project.id}, *([chosen] if chosen else [])]}
    rows, total = await _load_page(ctx, query, wanted)
    return Page(rows=tuple([(await _load_view(ctx, row)).model_dump(mode="json") for row in rows]), total=total)


async def _load_page(ctx: Context, query: ListDeliveries, wanted: Condition) -> tuple[list[DeliveryRow], int]:
    """A page of what is recorded, with the few refused ones that are kept in between."""
    refused = await rejections.rejected_deliveries(ctx).find(wanted, NEWEST_FIRST)
    skip, limit = skip_and_limit(query)
    first = max(0, skip - len(refused))
    recorded: list[DeliveryRow] = await ctx.read_model("delivery").find(
        wanted, NEWEST_FIRST, skip=first, limit=skip - first + limit
    )
    total = await ctx.read_model("delivery").count(wanted) + len(refused) if query.counted else 0
    if first and not recorded:
        return [], total
    # of what was skipped nothing is known but that it is newer than the first one here
    newer = [row for row in refused if _sort_key(row) > _sort_key(recorded[0])] if first else []
    here = sorted([*recorded, *(row for row in refused if row not in newer)], key=_sort_key, reverse=True)
    start = skip - first - len(newer)
    return here[start : start + limit], total


def _sort_key(row: DeliveryRow) -> tuple[datetime, str]:
    return row.received_at, row.id


async def get_payload(ctx: Context, query: GetWebhookPayload) -> bytes:
    found = await ctx.collection("request_bodies").find_one({"_id": query.delivery_id})
    return bytes(found["body"]) if found else b""


async def _load_view(ctx: Context, row: DeliveryRow) -> DeliveryView:
    sender = None
    if row.sealed_sender:
        with suppress(KeyErased):  # the project was deleted this very moment
            sender = await ctx.vault.decrypt(f"project-{row.project_id}", row.sealed_sender)
    return to_delivery_view(row, sender)


# bodies that nobody needs any more


async def delete_payload(ctx: Context, recorded: RecordedEvent[BuildFinished]) -> None:
    """A build's executor_id is the id of the delivery that it came from."""
    await ctx.collection("request_bodies").delete_one({"_id": recorded.event.executor_id})


async def purge_project(ctx: Context, recorded: RecordedEvent[Any]) -> None:
    await ctx.collection("request_bodies").delete_many({"project_id": recorded.event.project_id})
    await rejections.delete_rejections(ctx, recorded.event.project_id)


async def purge_orphan_payloads(ctx: Context) -> None:
    """Bodies whose delivery was never recorded, because the process died in between, or was over already."""
    old = {"at": {"$lt": ctx.clock.database_time() - ORPHAN_AGE}}
    async for found in ctx.collection("request_bodies").find(old, {"_id": 1}):
        if not await _is_needed(ctx, found["_id"]):
            await ctx.collection("request_bodies").delete_one({"_id": found["_id"]})


async def _is_needed(ctx: Context, delivery_id: str) -> bool:
    if await ctx.read_model("delivery").get(f"delivery-{delivery_id}") is None:
        return False
    try:
        return not (await ctx.query(GetBuild(executor_id=delivery_id)))["finished"]
    except RequestRejected as refused:
        if refused.code != "EXECUTOR_NOT_FOUND":
            raise
        return True  # its build is still to be queued
