"""Queries for webhook deliveries, recorded and rejected ones together."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from contracts.errors import RequestRejected
from contracts.messages import Page
from contracts.projects import DeliveryView, GetDelivery, ListDeliveries
from libs.projections.filters import Column, Condition, build_conditions, combine_conditions
from libs.projections.paging import RowPage, fetch_rows
from libs.security.erased_keys import KeyErased
from libs.service.declaration import Context
from services.projects.projections import ProjectRow
from services.projects.queries import require_project
from services.projects.webhooks import rejections
from services.projects.webhooks.delivery_projection import DeliveryRow, to_delivery_view

NEWEST_FIRST = (("received_at", -1), ("id", -1))
FILTER_COLUMNS = {name: Column(name) for name in ("provider", "event", "decision", "code", "ref", "sha")}


async def find_delivery(ctx: Context, delivery_id: str) -> DeliveryRow | None:
    """Return the recorded or rejected delivery with this id, or None."""
    row = await ctx.read_model(DeliveryRow).get(f"delivery-{delivery_id}")
    return row or await rejections.find_rejection(ctx, delivery_id)


async def get_delivery(ctx: Context, query: GetDelivery) -> DeliveryView:
    row = await find_delivery(ctx, query.delivery_id)
    if row is None or await ctx.read_model(ProjectRow).get(f"project-{row.project_id}") is None:
        raise RequestRejected("DELIVERY_NOT_FOUND")
    return await load_view(ctx, row)


async def list_deliveries(ctx: Context, query: ListDeliveries) -> Page:
    project = await require_project(ctx, query.project_id)
    filters = combine_conditions(query, build_conditions(query, FILTER_COLUMNS))
    page = await _load_page(ctx, query, {"project_id": project.id, **({"$and": [filters]} if filters else {})})
    return page.render([await load_view(ctx, row) for row in page.rows])


async def _load_page(ctx: Context, query: ListDeliveries, condition: Condition) -> RowPage[DeliveryRow]:
    """Return a page of recorded and rejected deliveries, newest first.

    All rejected deliveries are loaded, because only few are stored. Any of them can precede the page. If there are n of
    them, the recorded deliveries are therefore loaded from n rows before the page.
    """
    stored = rejections.rejected_deliveries(ctx)
    everything = query.replace(skip=0, limit=rejections.MAX_ENTRIES_PER_PROJECT, counted=False)
    rejected = (await fetch_rows(stored, everything, NEWEST_FIRST, condition)).rows
    first = max(0, query.skip - len(rejected))
    start = query.skip - first
    needed = query.replace(skip=first, limit=start + query.limit)
    recorded = await fetch_rows(ctx.read_model(DeliveryRow), needed, NEWEST_FIRST, condition)
    total = recorded.total + (await stored.count(condition) if query.counted else 0)
    if first and not recorded.rows:
        return replace(recorded, total=total)
    # rejected deliveries that precede the first loaded row belong to the skipped rows
    newer = [row for row in rejected if _sort_key(row) > _sort_key(recorded.rows[0])] if first else []
    merged = sorted([*recorded.rows, *(row for row in rejected if row not in newer)], key=_sort_key, reverse=True)
    start -= len(newer)
    end = start + query.limit
    return RowPage(merged[start:end], _sort_key, recorded.has_more or len(merged) > end, total)


def _sort_key(row: DeliveryRow) -> tuple[datetime, str]:
    return row.received_at, row.id


async def load_view(ctx: Context, row: DeliveryRow) -> DeliveryView:
    """Return the view of a delivery with the decrypted name of its sender; no name if the project was deleted."""
    sender = None
    if row.sealed_sender:
        with suppress(KeyErased):  # the project was deleted concurrently
            sender = await ctx.vault.decrypt(f"project-{row.project_id}", row.sealed_sender)
    return to_delivery_view(row, sender)
