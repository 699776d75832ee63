"""Which projects users belong to: as the projects service says, and as it was last heard of while that is away."""

from collections.abc import Sequence

from contracts.errors import Refused
from contracts.identity import UserView
from contracts.projects import ListMemberships, Memberships
from libs.service import Context
from services.identity.views import UserRow, shown

Projects = dict[int, tuple[int, ...]]


async def with_projects(ctx: Context, rows: Sequence[UserRow]) -> list[UserView]:
    ids = tuple(row.id for row in rows)
    try:
        projects = Memberships.model_validate(await ctx.ask(ListMemberships(developers_id=ids))).projects_id
    except Refused as refused:
        if refused.failure.status < 500:
            raise
        projects = await followed(ctx, ids)
    return [shown(row, projects.get(row.id, ())) for row in rows]


async def followed(ctx: Context, ids: Sequence[int]) -> Projects:
    projects: Projects = {}
    async for membership in ctx.rows("memberships").each({"developers_id": {"$in": ids}}, [("project_id", 1)]):
        for developer_id in membership.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), membership.project_id)
    return projects
