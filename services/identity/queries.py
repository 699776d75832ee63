"""Finding users."""

from contracts.errors import RequestRejected
from contracts.identity import ListUserSummaries
from contracts.messages import Page
from libs.projections.paging import fetch_slice
from libs.service.declaration import Context
from services.identity.projections import UserRow, to_search_result


async def find_users(ctx: Context, query: ListUserSummaries) -> Page:
    given = {"username_key": query.username, "email_key": query.email}
    wanted = {"username_key": {"$gt": ""}} | {name: text.lower() for name, text in given.items() if text is not None}
    rows, total = await fetch_slice(ctx.read_model("user"), query, wanted, [("username_key", 1)])
    return Page(rows=tuple(map(to_search_result, rows)), total=total)


async def require_user(ctx: Context, user_id: int) -> UserRow:
    row: UserRow | None = await ctx.read_model("user").get(f"user-{user_id}")
    if row is None:
        raise RequestRejected("DEVELOPER_NOT_FOUND")
    return row


async def require_user_by_name(ctx: Context, username: str | None) -> UserRow:
    row: UserRow | None = await ctx.read_model("user").find_one({"username_key": (username or "").lower()})
    if row is None:
        raise RequestRejected("DEVELOPER_NOT_FOUND")
    return row
