"""The actor's access to projects. A single project is checked with the current members of the company that owns it.

Lists use the projection of the members of companies.
"""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.projects import HiddenProjects, ListHiddenProjects, ListProjectMembers, ProjectAction, ProjectMember
from libs.documents import Filter
from libs.eventstore.decider import Actor
from libs.permissions.lookups import fetch_company_members
from libs.permissions.projections import list_companies_of
from libs.permissions.rule import allows, hidden_filter, is_unrestricted, require_action, role_of, visible_filter
from libs.service.declaration import Context
from services.projects.projections import ProjectRow


async def require_project_action(
    ctx: Context, project: ProjectRow | None, action: ProjectAction, not_found: str = "PROJECT_NOT_FOUND"
) -> None:
    """Raise RequestRejected unless the actor may perform the action in the project.

    The code is `not_found` if the actor may not see the project or it does not exist, else FORBIDDEN.
    """
    actor = ctx.metadata.actor
    if not is_unrestricted(actor):
        require_action(project, actor, action, await list_owning_companies(ctx, project, action), not_found)


async def may(ctx: Context, project: ProjectRow, action: ProjectAction) -> bool:
    actor = ctx.metadata.actor
    return is_unrestricted(actor) or allows(project, actor, action, await list_owning_companies(ctx, project, action))


async def list_owning_companies(ctx: Context, project: ProjectRow | None, action: ProjectAction) -> list[int]:
    """Return the company that owns the project, if the actor is a member. Empty if the action is allowed without it.

    The members are queried from the identity service, so that a change of members takes effect at once.
    """
    actor = ctx.metadata.actor
    if project is None or project.company_id is None or allows(project, actor, action):
        return []
    return [project.company_id] if actor.id in await fetch_company_members(ctx, project.company_id) else []


def may_launch(project: ProjectRow, user: Actor, company_members_id: Sequence[int]) -> bool:
    """Return whether the user may launch builds of the project.

    `company_members_id`: the members of the company that owns the project.
    """
    companies = [project.company_id] if project.company_id and user.id in company_members_id else []
    return allows(project, user, ProjectAction.LAUNCH, companies)


async def filter_visible(ctx: Context) -> Filter:
    """Return the filter for the projects that the actor may see."""
    actor = ctx.metadata.actor
    return {} if is_unrestricted(actor) else visible_filter(actor, await list_companies_of(ctx, actor.id))


async def list_hidden_ids(ctx: Context) -> set[int]:
    """Return the ids of the private projects that the actor may not see."""
    actor = ctx.metadata.actor
    if is_unrestricted(actor):
        return set()
    hidden = hidden_filter(actor, await list_companies_of(ctx, actor.id))
    return {project_id for (project_id,) in await ctx.read_model(ProjectRow).find_values(hidden, "id")}


async def list_project_members(ctx: Context, query: ListProjectMembers) -> list[ProjectMember]:
    project = await ctx.read_model(ProjectRow).get(f"project-{query.project_id}")
    if project is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    ids = sorted({*project.readers_id, *project.developers_id, *project.maintainers_id})
    roles = ((user_id, role_of(project, user_id)) for user_id in ids)
    return [ProjectMember(user_id=user_id, role=role) for user_id, role in roles if role]


async def list_hidden_projects(ctx: Context, _query: ListHiddenProjects) -> HiddenProjects:
    return HiddenProjects(projects_id=tuple(sorted(await list_hidden_ids(ctx))))
