"""Finding users."""

from contracts.errors import Refused
from contracts.identity import FindUsers
from contracts.messages import Page
from libs.paging import sliced
from libs.service import Context
from services.identity.views import UserRow, found


async def find_users(ctx: Context, query: FindUsers) -> Page:
    given = {"username_key": query.username, "email_key": query.email}
    wanted = {"username_key": {"$gt": ""}} | {name: text.lower() for name, text in given.items() if text is not None}
    rows, total = await sliced(ctx.rows("user"), query, wanted, [("username_key", 1)])
    return Page(rows=tuple(map(found, rows)), total=total)


async def existing(ctx: Context, user_id: int) -> UserRow:
    row: UserRow | None = await ctx.rows("user").get(f"user-{user_id}")
    if row is None:
        raise Refused("DEVELOPER_NOT_FOUND")
    return row


async def by_name(ctx: Context, username: str | None) -> UserRow:
    row: UserRow | None = await ctx.rows("user").one({"username_key": (username or "").lower()})
    if row is None:
        raise Refused("DEVELOPER_NOT_FOUND")
    return row
