from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany
from contracts.messages import Page, ReadModelRow
from contracts.projects import (
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetProjectCount,
    LaunchSettings,
    ListMemberships,
    ListProjects,
    Memberships,
    ProjectCount,
    ProjectView,
)
from libs.eventstore.decider import Actor
from libs.projections.paging import BY_ID, fetch_rows
from libs.service.declaration import Context
from services.projects import build_activity
from services.projects.projections import ProjectRow, SecretRow
from services.projects.views import to_launch_settings, to_project_view


async def get_project(ctx: Context, query: GetProject) -> ProjectView:
    return (await load_project_views(ctx, [await require_project(ctx, query.project_id)], reveal=query.reveal))[0]


async def get_project_by_alias(ctx: Context, query: GetProjectByAlias) -> ProjectView:
    path = {"owner_key": query.owner_alias.lower(), "alias": query.alias.lower()}
    row = await ctx.read_model(ProjectRow).find_one(path)
    if row is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return (await load_project_views(ctx, [row], reveal=False))[0]


async def list_projects(ctx: Context, query: ListProjects) -> Page:
    page = await fetch_rows(ctx.read_model(ProjectRow), query, BY_ID)
    max_build_ids = build_activity.MAX_BUILD_IDS_IN_LIST
    return page.render(await load_project_views(ctx, page.rows, reveal=query.reveal, max_build_ids=max_build_ids))


async def get_project_count(ctx: Context, query: GetProjectCount) -> ProjectCount:
    return ProjectCount(count=await ctx.read_model(ProjectRow).count({"company_id": query.company_id}))


async def list_memberships(ctx: Context, query: ListMemberships) -> Memberships:
    projects: dict[int, tuple[int, ...]] = {}
    async for row in ctx.read_model(ProjectRow).iterate({"developers_id": {"$in": query.developers_id}}, [("id", 1)]):
        for developer_id in row.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), row.id)
    return Memberships(projects_id=projects)


async def get_launch_settings(ctx: Context, query: GetLaunchSettings) -> LaunchSettings:
    row = await require_project(ctx, query.project_id)
    members_id = await fetch_company_members(ctx, row.company_id)
    return to_launch_settings(row, allowed=may_launch(row, ctx.metadata.actor, members_id))


def may_launch(row: ProjectRow, user: Actor, members_id: Sequence[int]) -> bool:
    """Return whether the user may launch builds of the project, through the API or by a push."""
    return user.is_admin or user.id in row.developers_id or user.id in members_id


async def fetch_company_members(ctx: Context, company_id: int | None) -> Sequence[int]:
    """Return the members of the company that owns a project; empty if a user owns it or the company was deleted."""
    if company_id is None:
        return ()
    try:
        return (await ctx.query(GetCompany(company_id=company_id), CompanyView)).members_id
    except RequestRejected as rejected:
        if rejected.code != "COMPANY_NOT_FOUND":
            raise
        return ()


async def require_project(ctx: Context, project_id: int) -> ProjectRow:
    """Return the project. Raises RequestRejected with PROJECT_NOT_FOUND if it does not exist."""
    row = await ctx.read_model(ProjectRow).get(f"project-{project_id}")
    if row is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return row


async def require_all(ctx: Context, row_type: type[ReadModelRow], category: str, ids: tuple[int, ...]) -> None:
    """Raise RequestRejected with `<CATEGORY>_NOT_FOUND` unless all ids exist."""
    streams = [f"{category}-{id_}" for id_ in set(ids)]
    if streams and await ctx.read_model(row_type).count({"_id": {"$in": streams}}) < len(streams):
        raise RequestRejected(f"{category.upper()}_NOT_FOUND")


async def load_project_views(
    ctx: Context, rows: Sequence[ProjectRow], *, reveal: bool, max_build_ids: int | None = None
) -> list[ProjectView]:
    """Return the views of projects with their secrets and build activity.

    `reveal`: with the signature key in plaintext. `max_build_ids`: finished builds per project.
    """
    ids = [row.id for row in rows]
    secrets_id: dict[int, list[int]] = {project_id: [] for project_id in ids}
    async for secret in ctx.read_model(SecretRow).iterate({"projects_id": {"$in": ids}}, [("id", 1)]):
        for project_id in secret.projects_id:
            secrets_id.get(project_id, []).append(secret.id)
    activities = await build_activity.load_build_activity(ctx, ids, max_build_ids or build_activity.MAX_BUILD_IDS)
    sealed = {f"project-{row.id}": row.sealed_signature_key for row in rows} if reveal else {}
    keys = await ctx.vault.decrypt_many(sealed)
    return [
        to_project_view(row, activities[row.id], tuple(secrets_id[row.id]), keys.get(f"project-{row.id}"))
        for row in rows
    ]


async def list_secret_ids(ctx: Context, project_id: int) -> tuple[int, ...]:
    """Return the ids of the secrets attached to the project, in ascending order."""
    rows = ctx.read_model(SecretRow).iterate({"projects_id": project_id}, [("id", 1)])
    return tuple([row.id async for row in rows])
