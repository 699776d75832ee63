"""The query for outgoing requests."""

from contracts.messages import Page
from contracts.notifications import ListOutgoing, OutgoingRow
from libs.projections.paging import fetch_page
from libs.service.declaration import Context

NEWEST_FIRST = (("requested_at", -1), ("id", -1))


async def list_outgoing(ctx: Context, query: ListOutgoing) -> Page:
    filters = {"project_id": query.project_id, "receiver_id": query.receiver_id, "kind": query.kind}
    condition = {name: value for name, value in filters.items() if value is not None}
    return await fetch_page(
        ctx.read_model(OutgoingRow), query, lambda row: row, order=NEWEST_FIRST, condition=condition
    )
