"""Queries for projects."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.messages import Page, ReadModelRow
from contracts.projects import (
    BadgeProject,
    BadgeProjects,
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetProjectCount,
    LaunchSettings,
    ListBadgeProjects,
    ListMemberships,
    ListProjects,
    Memberships,
    ProjectAction,
    ProjectCount,
    ProjectView,
)
from libs.documents import Document
from libs.permissions.lookups import fetch_company_members
from libs.projections.paging import BY_ID, fetch_rows
from libs.service.declaration import Context
from services.projects import build_activity
from services.projects.permissions.access import (
    filter_visible,
    may_launch,
    require_project_action,
)
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
    page = await fetch_rows(ctx.read_model(ProjectRow), query, BY_ID, await filter_visible(ctx))
    max_build_ids = build_activity.MAX_BUILD_IDS_IN_LIST
    return page.render(await load_project_views(ctx, page.rows, reveal=query.reveal, max_build_ids=max_build_ids))


async def get_project_count(ctx: Context, query: GetProjectCount) -> ProjectCount:
    return ProjectCount(count=await ctx.read_model(ProjectRow).count({"company_id": query.company_id}))


async def list_badge_projects(ctx: Context, query: ListBadgeProjects) -> BadgeProjects:
    condition: Document = {"badges": True}
    if query.owner_alias is not None:
        condition["owner_key"] = query.owner_alias.lower()
    if query.alias is not None:
        condition["alias"] = query.alias.lower()
    rows = await ctx.read_model(ProjectRow).find(condition, BY_ID, limit=query.limit)
    projects = (BadgeProject(id=row.id, owner_alias=row.owner_alias, alias=row.alias) for row in rows)
    return BadgeProjects(projects=tuple(projects))


async def list_memberships(ctx: Context, query: ListMemberships) -> Memberships:
    projects: dict[int, tuple[int, ...]] = {}
    condition = {"developers_id": {"$in": query.developers_id}, **await filter_visible(ctx)}
    async for row in ctx.read_model(ProjectRow).iterate(condition, [("id", 1)]):
        for developer_id in row.developers_id:
            projects[developer_id] = (*projects.get(developer_id, ()), row.id)
    return Memberships(projects_id=projects)


async def get_launch_settings(ctx: Context, query: GetLaunchSettings) -> LaunchSettings:
    row = await require_project(ctx, query.project_id)
    actor = ctx.metadata.actor
    allowed = may_launch(row, actor, ()) or may_launch(row, actor, await fetch_company_members(ctx, row.company_id))
    if not allowed:
        await require_project_action(ctx, row, ProjectAction.READ)
    return to_launch_settings(row, allowed=allowed)


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

    `reveal` includes the signature keys in plaintext. `max_build_ids` limits the ids of finished builds per project.
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
