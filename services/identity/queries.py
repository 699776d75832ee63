"""Queries for users and access rights."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import (
    Access,
    AccessList,
    GetAccess,
    GetOwner,
    GetUser,
    GetUsernames,
    ListAccess,
    ListUsers,
    ListUsersPage,
    ListUserSummaries,
    Owner,
    Usernames,
    UserView,
)
from contracts.messages import Page
from contracts.projects import ListMemberships, Memberships
from libs.projections.paging import BY_ID, fetch_filtered_page, fetch_page, fetch_rows
from libs.service.declaration import Context
from services.identity import companies
from services.identity.projections import MembershipRow, UserRow
from services.identity.views import USER_COLUMNS, to_access, to_search_result, to_summary, to_user_view


async def list_user_summaries(ctx: Context, query: ListUserSummaries) -> Page:
    criteria = {"username_key": query.username, "email_key": query.email}
    equal = {field: text.lower() for field, text in criteria.items() if text is not None}
    order = [("username_key", 1)]
    return await fetch_page(ctx.read_model(UserRow), query, to_search_result, order=order, condition=equal)


async def require_user(ctx: Context, user_id: int) -> UserRow:
    """Return the user. Raises RequestRejected with DEVELOPER_NOT_FOUND."""
    row = await ctx.read_model(UserRow).get(f"user-{user_id}")
    if row is None:
        raise RequestRejected("DEVELOPER_NOT_FOUND")
    return row


async def require_user_by_name(ctx: Context, username: str | None) -> UserRow:
    """Return the user with this name, ignoring case. Raises RequestRejected with DEVELOPER_NOT_FOUND."""
    row = await ctx.read_model(UserRow).find_one({"username_key": (username or "").lower()})
    if row is None:
        raise RequestRejected("DEVELOPER_NOT_FOUND")
    return row


async def get_access(ctx: Context, query: GetAccess) -> Access:
    return to_access(await require_user(ctx, query.user_id))


async def get_usernames(ctx: Context, query: GetUsernames) -> Usernames:
    streams = [f"user-{user_id}" for user_id in query.user_ids]
    rows = await ctx.read_model(UserRow).find({"_id": {"$in": streams}})
    return Usernames(names={row.id: row.username for row in rows})


async def list_access(ctx: Context, query: ListAccess) -> AccessList:
    """Return the access rights of the users with this name at the forge, ignoring case. An empty name matches none."""
    if not query.name:
        return AccessList(users=())
    rows = await ctx.read_model(UserRow).find({f"{query.provider}_key": query.name.lower()}, [("id", 1)])
    return AccessList(users=tuple(to_access(row) for row in rows))


async def get_user(ctx: Context, query: GetUser) -> UserView:
    if query.user_id is None:
        row = await require_user_by_name(ctx, query.username)
    else:
        row = await require_user(ctx, query.user_id)
    return (await to_user_views(ctx, [row]))[0]


async def get_owner(ctx: Context, query: GetOwner) -> Owner:
    """Return the company or user with this name: both share one namespace. Raises DEVELOPER_NOT_FOUND."""
    if company := await companies.find_company_by_alias(ctx, query.alias):
        return Owner(alias=company.alias, kind="company", id=company.id)
    row = await require_user_by_name(ctx, query.alias)
    return Owner(alias=row.username, kind="user", id=row.id)


async def list_users(ctx: Context, query: ListUsers) -> Page:
    condition = {} if query.user_ids is None else {"_id": {"$in": [f"user-{user_id}" for user_id in query.user_ids]}}
    page = await fetch_rows(ctx.read_model(UserRow), query, BY_ID, condition)
    if missing := set(query.user_ids or ()) - {row.id for row in page.rows}:
        raise RequestRejected("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return page.render(await to_user_views(ctx, page.rows))


async def list_users_page(ctx: Context, query: ListUsersPage) -> Page:
    return await fetch_filtered_page(ctx.read_model(UserRow), query, USER_COLUMNS, to_summary)


ProjectsByUser = dict[int, tuple[int, ...]]


async def to_user_views(ctx: Context, rows: Sequence[UserRow]) -> list[UserView]:
    """Return the users with the projects they are members of.

    While the projects service is not available, the memberships come from the local projection.
    """
    ids = tuple(row.id for row in rows)
    try:
        projects = (await ctx.query(ListMemberships(developers_id=ids), Memberships)).projects_id
    except RequestRejected as rejected:
        if rejected.failure.status < 500:
            raise
        projects = await read_membership_projection(ctx, ids)
    return [to_user_view(row, projects.get(row.id, ())) for row in rows]


async def read_membership_projection(ctx: Context, ids: Sequence[int]) -> ProjectsByUser:
    projects: ProjectsByUser = {}
    async for membership in ctx.read_model(MembershipRow).iterate({"developers_id": {"$in": ids}}, [("project_id", 1)]):
        for developer_id in membership.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), membership.project_id)
    return projects
