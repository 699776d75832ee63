"""Queries for webhook deliveries, recorded and rejected ones together."""

from contextlib import suppress
from datetime import datetime

from contracts.errors import RequestRejected
from contracts.messages import Page
from contracts.projects import DeliveryView, GetDelivery, ListDeliveries
from libs.projections.paging import Column, Condition, build_conditions, combine_conditions, skip_and_limit
from libs.security.erased_keys import KeyErased
from libs.service.declaration import Context
from services.projects.projections import ProjectRow
from services.projects.queries import require_project
from services.projects.webhooks import rejections
from services.projects.webhooks.delivery_projection import DeliveryRow, to_delivery_view

NEWEST_FIRST = (("received_at", -1), ("id", -1))
FILTER_COLUMNS = {name: Column(name) for name in ("provider", "event", "decision", "code", "ref", "sha")}


async def get_delivery(ctx: Context, query: GetDelivery) -> DeliveryView:
    row = await ctx.read_model(DeliveryRow).get(f"delivery-{query.delivery_id}")
    row = row or await rejections.find_rejection(ctx, query.delivery_id)
    if row is None or await ctx.read_model(ProjectRow).get(f"project-{row.project_id}") is None:
        raise RequestRejected("DELIVERY_NOT_FOUND")
    return await load_view(ctx, row)


async def list_deliveries(ctx: Context, query: ListDeliveries) -> Page:
    project = await require_project(ctx, query.project_id)
    filters = combine_conditions(query, build_conditions(query, FILTER_COLUMNS))
    condition = {"$and": [{"project_id": project.id}, *([filters] if filters else [])]}
    rows, total = await _load_page(ctx, query, condition)
    views = [await load_view(ctx, row) for row in rows]
    return Page(rows=tuple(view.model_dump(mode="json") for view in views), total=total)


async def _load_page(ctx: Context, query: ListDeliveries, condition: Condition) -> tuple[list[DeliveryRow], int]:
    """Return a page of recorded and rejected deliveries, newest first, and the total.

    All rejected deliveries are loaded, because only few are stored. Any of them can precede the page. If there are n of
    them, the recorded deliveries are therefore loaded from n rows before the page.
    """
    rejected = await rejections.rejected_deliveries(ctx).find(condition, NEWEST_FIRST)
    skip, limit = skip_and_limit(query)
    first = max(0, skip - len(rejected))
    recorded = await ctx.read_model(DeliveryRow).find(condition, NEWEST_FIRST, skip=first, limit=skip - first + limit)
    total = await ctx.read_model(DeliveryRow).count(condition) + len(rejected) if query.counted else 0
    if first and not recorded:
        return [], total
    # rejected deliveries that precede the first loaded row, as the skipped rows do
    newer = [row for row in rejected if _sort_key(row) > _sort_key(recorded[0])] if first else []
    merged = sorted([*recorded, *(row for row in rejected if row not in newer)], key=_sort_key, reverse=True)
    start = skip - first - len(newer)
    return merged[start : start + limit], total


def _sort_key(row: DeliveryRow) -> tuple[datetime, str]:
    return row.received_at, row.id


async def load_view(ctx: Context, row: DeliveryRow) -> DeliveryView:
    """Return the view of a delivery with the decrypted name of its sender."""
    sender = None
    if row.sealed_sender:
        with suppress(KeyErased):  # the project was deleted concurrently
            sender = await ctx.vault.decrypt(f"project-{row.project_id}", row.sealed_sender)
    return to_delivery_view(row, sender)
