"""Queries for receivers, with the latest request to each."""

import asyncio

from contracts.errors import RequestRejected
from contracts.notifications import (
    GetReceiver,
    ListReceivers,
    OutgoingRow,
    Receivers,
    ReceiverView,
)
from libs.permissions.lookups import fetch_project_access
from libs.service.declaration import Context
from services.notifications.receivers.receiver_projection import ReceiverRow


async def get_receiver(ctx: Context, query: GetReceiver) -> ReceiverView:
    return await to_view(ctx, await require_receiver(ctx, query.receiver_id, query.project_id))


async def list_receivers(ctx: Context, query: ListReceivers) -> Receivers:
    if await fetch_project_access(ctx, query.project_id) is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    rows = await ctx.read_model(ReceiverRow).find({"project_id": query.project_id}, [("id", 1)])
    return Receivers(receivers=tuple(await asyncio.gather(*(to_view(ctx, row) for row in rows))))


async def require_receiver(ctx: Context, receiver_id: int, project_id: int | None) -> ReceiverRow:
    """Return the receiver. Raises RequestRejected with RECEIVER_NOT_FOUND, also if it belongs to another project."""
    row = await ctx.read_model(ReceiverRow).get(f"receiver-{receiver_id}")
    if row is None or project_id not in (None, row.project_id):
        raise RequestRejected("RECEIVER_NOT_FOUND")
    return row


async def to_view(ctx: Context, row: ReceiverRow) -> ReceiverView:
    newest = [("requested_at", -1), ("id", -1)]
    requests = await ctx.read_model(OutgoingRow).find({"receiver_id": row.id}, newest, limit=1)
    last = requests[0] if requests else None
    return ReceiverView(**row.model_dump(exclude={"sealed_url", "sealed_secret"}), last_delivery=last)
