from contracts.messages import Page
from contracts.notifications import ListNotifications, NotificationRow
from libs.service.declaration import Context


async def list_notifications(ctx: Context, query: ListNotifications) -> Page:
    rows = ctx.read_model(NotificationRow)
    skip = (query.page - 1) * query.per_page
    page = await rows.find({}, [("requested_at", -1)], skip=skip, limit=query.per_page)
    return Page(rows=tuple(row.model_dump(mode="json") for row in page), total=await rows.count({}))
