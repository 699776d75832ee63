"""Which projects users belong to: as the projects service says, and as it was last heard of while that is away."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import UserView
from contracts.projects import ListMemberships, Memberships
from libs.service.declaration import Context
from services.identity.projections import UserRow, to_user_view

ProjectsByUser = dict[int, tuple[int, ...]]


async def to_user_views(ctx: Context, rows: Sequence[UserRow]) -> list[UserView]:
    ids = tuple(row.id for row in rows)
    try:
        projects = Memberships.model_validate(await ctx.query(ListMemberships(developers_id=ids))).projects_id
    except RequestRejected as refused:
        if refused.failure.status < 500:
            raise
        projects = await read_membership_projection(ctx, ids)
    return [to_user_view(row, projects.get(row.id, ())) for row in rows]


async def read_membership_projection(ctx: Context, ids: Sequence[int]) -> ProjectsByUser:
    projects: ProjectsByUser = {}
    async for membership in ctx.read_model("memberships").iterate({"developers_id": {"$in": ids}}, [("project_id", 1)]):
        for developer_id in membership.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), membership.project_id)
    return projects
