"""The query for notifications."""

from contracts.messages import Page
from contracts.notifications import ListNotifications, NotificationRow
from libs.projections.paging import fetch_page
from libs.service.declaration import Context

NEWEST_FIRST = (("requested_at", -1), ("id", -1))


async def list_notifications(ctx: Context, query: ListNotifications) -> Page:
    return await fetch_page(ctx.read_model(NotificationRow), query, lambda row: row, order=NEWEST_FIRST)
