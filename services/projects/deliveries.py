"""Deliveries: proving and reading them, keeping the bodies of those that build, and the answers about them."""

import hashlib
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from contracts.builds import BuildFinished, GetBuild
from contracts.errors import Refused
from contracts.identity import Accesses, FindAccess
from contracts.messages import Page
from contracts.projects import (
    DeliveryKey,
    DeliveryView,
    GetDelivery,
    GetDeliveryKey,
    GetRequestBody,
    PageDeliveries,
    Provider,
    ReceiveDelivery,
    RecordDelivery,
    RefuseDelivery,
    Sender,
)
from libs.deciding import SYSTEM, Actor, Recorded
from libs.paging import Column, Condition, bounds, conditions, together
from libs.security.envelopes import EnvelopeInvalid, enclose
from libs.security.erased import Erased
from libs.service import Context
from libs.webhooks import is_signed
from services.projects import refusals
from services.projects.delivery_views import DeliveryRow, delivery_view
from services.projects.domain import webhook
from services.projects.domain.delivery import why_ignored
from services.projects.projects import existing, may_launch, members_of
from services.projects.views import ProjectRow

LONGEST = 255  # characters kept of what a request calls itself
STRAY = timedelta(hours=1)
NEWEST_FIRST = (("received_at", -1), ("id", -1))
COLUMNS = {name: Column(name) for name in ("provider", "event", "decision", "code", "ref", "sha")}


async def receive(ctx: Context, command: ReceiveDelivery) -> DeliveryView:
    project = await existing(ctx, command.project_id)
    try:
        row = await _decided(ctx, project, command)
    except Refused as refused:
        if refused.code in refusals.CODES:
            size = len(command.body)
            await refusals.note_refusal(ctx, project.id, command.provider, command.event, size, refused.code)
        raise
    return await _view(ctx, row)


async def refuse(ctx: Context, command: RefuseDelivery) -> DeliveryView:
    project = await existing(ctx, command.project_id)
    await refusals.note_refusal(ctx, project.id, command.provider, command.event, command.size, command.code)
    raise Refused(command.code)


async def get_key(ctx: Context, query: GetDeliveryKey) -> DeliveryKey:
    project = await existing(ctx, query.project_id)
    key = await _signature_key(ctx, project)
    try:
        return DeliveryKey(encrypted=enclose(key, query.public_key, f"project-{project.id}"))
    except EnvelopeInvalid:
        raise Refused("REQUEST_INVALID", "The public key is not an X25519 key.") from None


async def _decided(ctx: Context, project: ProjectRow, command: ReceiveDelivery) -> DeliveryRow:
    """Nothing is read, looked up or taken for known before the signature is right."""
    if command.provider is None:
        raise Refused("WEBHOOK_PROVIDER_NOT_SUPPORTED")
    if not is_signed(command.provider, await _signature_key(ctx, project), command.proof, command.body):
        raise Refused("WEBHOOK_SIGNATURE_INVALID")
    digest = hashlib.sha256(command.body).hexdigest()
    delivery_id = _delivery_id(command)
    row: DeliveryRow | None = await ctx.rows("delivery").get(f"delivery-{delivery_id}")
    if row is None:
        row = await _record(ctx, project, command, command.provider, delivery_id, digest)
    if row.digest != digest:
        raise Refused("IDEMPOTENCY_KEY_REUSED", "A delivery with this id had another body.")
    return row


def _delivery_id(command: ReceiveDelivery) -> str:
    """Whichever replica a delivery comes to again finds the same stream; one without a name is new."""
    name = f"delivery/{command.project_id}/{command.provider}/{command.forge_id}"
    return str(uuid5(NAMESPACE_URL, name) if command.forge_id else uuid4())


async def _signature_key(ctx: Context, project: ProjectRow) -> str:
    try:
        return await ctx.vault.open(f"project-{project.id}", project.sealed_signature_key)
    except Erased:  # deleted this very moment
        raise Refused("PROJECT_NOT_FOUND") from None


async def _record(
    ctx: Context, project: ProjectRow, command: ReceiveDelivery, provider: Provider, delivery_id: str, digest: str
) -> DeliveryRow:
    content, report = webhook.readable(provider, command.event, command.content_type, command.body)
    user, sender = await _sender(ctx, project, provider, report.sender)
    record = RecordDelivery(
        delivery_id=delivery_id,
        project_id=project.id,
        provider=provider,
        event=command.event[:LONGEST],
        forge_id=command.forge_id[:LONGEST],
        branch=project.branch,
        sealed_sender=await ctx.vault.seal(f"project-{project.id}", report.sender) if report.sender else "",
        sender=sender,
        push=report.push,
        size=len(command.body),
        digest=digest,
    )
    if why_ignored(record) is None:
        # before the event: what is accepted has its body, and what was kept in vain is found by `forget_strays`
        kept = {"project_id": project.id, "body": content, "at": ctx.clock.database_time()}
        await ctx.collection("request_bodies").replace_one({"_id": delivery_id}, kept, upsert=True)
    done = await ctx.tell(record, actor=user)
    return DeliveryRow.model_validate(done.row)


async def _sender(ctx: Context, project: ProjectRow, provider: Provider, name: str) -> tuple[Actor, Sender | None]:
    """Names at a forge are not unique here: of several users one who may launch stands for all."""
    found = Accesses.model_validate(await ctx.ask(FindAccess(provider=provider, name=name))).users
    members = await members_of(ctx, project.company_id)
    users = [(Actor(one.user_id, one.username, one.roles), one.enabled) for one in found]
    senders = [
        (user, Sender(user_id=user.id, enabled=enabled, allowed=may_launch(project, user, members)))
        for user, enabled in users
    ]
    return max(senders, key=lambda one: (one[1].enabled, one[1].allowed, -one[1].user_id), default=(SYSTEM, None))


# answers


async def get(ctx: Context, query: GetDelivery) -> DeliveryView:
    row: DeliveryRow | None = await ctx.rows("delivery").get(f"delivery-{query.delivery_id}")
    row = row or await refusals.find(ctx, query.delivery_id)
    if row is None or await ctx.rows("project").get(f"project-{row.project_id}") is None:
        raise Refused("DELIVERY_NOT_FOUND")
    return await _view(ctx, row)


async def page(ctx: Context, query: PageDeliveries) -> Page:
    project = await existing(ctx, query.project_id)
    chosen = together(query, conditions(query, COLUMNS))
    wanted = {"$and": [{"project_id": project.id}, *([chosen] if chosen else [])]}
    rows, total = await _newest_first(ctx, query, wanted)
    return Page(rows=tuple([(await _view(ctx, row)).model_dump(mode="json") for row in rows]), total=total)


async def _newest_first(ctx: Context, query: PageDeliveries, wanted: Condition) -> tuple[list[DeliveryRow], int]:
    """A page of what is recorded, with the few refused ones that are kept in between."""
    refused = await refusals.entries(ctx).find(wanted, NEWEST_FIRST)
    skip, limit = bounds(query)
    first = max(0, skip - len(refused))
    recorded: list[DeliveryRow] = await ctx.rows("delivery").find(
        wanted, NEWEST_FIRST, skip=first, limit=skip - first + limit
    )
    total = await ctx.rows("delivery").count(wanted) + len(refused) if query.counted else 0
    if first and not recorded:
        return [], total
    # of what was skipped nothing is known but that it is newer than the first one here
    newer = [row for row in refused if _place(row) > _place(recorded[0])] if first else []
    here = sorted([*recorded, *(row for row in refused if row not in newer)], key=_place, reverse=True)
    start = skip - first - len(newer)
    return here[start : start + limit], total


def _place(row: DeliveryRow) -> tuple[datetime, str]:
    return row.received_at, row.id


async def get_request_body(ctx: Context, query: GetRequestBody) -> bytes:
    found = await ctx.collection("request_bodies").find_one({"_id": query.delivery_id})
    return bytes(found["body"]) if found else b""


async def _view(ctx: Context, row: DeliveryRow) -> DeliveryView:
    sender = None
    if row.sealed_sender:
        with suppress(Erased):  # the project was deleted this very moment
            sender = await ctx.vault.open(f"project-{row.project_id}", row.sealed_sender)
    return delivery_view(row, sender)


# bodies that nobody needs any more


async def forget_body(ctx: Context, recorded: Recorded[BuildFinished]) -> None:
    """A build's executor_id is the id of the delivery that it came from."""
    await ctx.collection("request_bodies").delete_one({"_id": recorded.event.executor_id})


async def forget_project(ctx: Context, recorded: Recorded[Any]) -> None:
    await ctx.collection("request_bodies").delete_many({"project_id": recorded.event.project_id})
    await refusals.forget(ctx, recorded.event.project_id)


async def forget_strays(ctx: Context) -> None:
    """Bodies whose delivery was never recorded, because the process died in between, or was over already."""
    old = {"at": {"$lt": ctx.clock.database_time() - STRAY}}
    async for found in ctx.collection("request_bodies").find(old, {"_id": 1}):
        if not await _needed(ctx, found["_id"]):
            await ctx.collection("request_bodies").delete_one({"_id": found["_id"]})


async def _needed(ctx: Context, delivery_id: str) -> bool:
    if await ctx.rows("delivery").get(f"delivery-{delivery_id}") is None:
        return False
    try:
        return not (await ctx.ask(GetBuild(executor_id=delivery_id)))["finished"]
    except Refused as refused:
        if refused.code != "EXECUTOR_NOT_FOUND":
            raise
        return True  # its build is still to be queued
