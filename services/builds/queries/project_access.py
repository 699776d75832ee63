"""The actor's access to projects, from the projections of this service.

The projection follows the projects service within milliseconds. A project that it does not contain yet is looked up in
the projects service. While the projection is being filled, it is not used at all, so that no user sees a project whose
last change is still missing.
"""

import asyncio
import time
from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.projects import (
    HiddenProjects,
    ListHiddenProjects,
    ProjectAccess,
    ProjectAction,
    Visibility,
)
from libs.permissions.lookups import fetch_project_access
from libs.permissions.projections import ProjectAccessRow, list_companies_of, project_access_projection
from libs.permissions.rule import hidden_filter, is_unrestricted, require_action
from libs.projections.projector import is_complete
from libs.service.declaration import Context

CATCH_UP_SECONDS = 2.0  # how long the launch of a private build waits for the projection
POLL_SECONDS = 0.02


async def find_access(ctx: Context, project_id: int) -> ProjectAccess | None:
    """Return who may access a project, or None if it does not exist.

    If the projection cannot be used, the result is None also for a project that the actor may not see.
    """
    row = await ctx.read_model(ProjectAccessRow).get(f"project-{project_id}")
    if row is not None and await is_complete(ctx, project_access_projection):
        return row
    return await fetch_project_access(ctx, project_id)


async def require_project_action(
    ctx: Context, project_id: int, action: ProjectAction, not_found: str, denied: str = "FORBIDDEN"
) -> None:
    """Raise RequestRejected unless the actor may do `action` in the project. See `require_action` for the codes."""
    actor = ctx.metadata.actor
    if is_unrestricted(actor):
        return
    access = await find_access(ctx, project_id)
    companies = await list_companies_of(ctx, actor.id) if access and access.company_id else ()
    require_action(access, actor, action, companies, not_found, denied)


async def list_hidden_projects(ctx: Context) -> Sequence[int]:
    """Return the ids of the private projects that the actor may not see, for use in filters of lists."""
    actor = ctx.metadata.actor
    if is_unrestricted(actor):
        return ()
    complete, companies = await asyncio.gather(
        is_complete(ctx, project_access_projection), list_companies_of(ctx, actor.id)
    )
    if not complete:
        return (await ctx.query(ListHiddenProjects(), HiddenProjects)).projects_id
    hidden = hidden_filter(actor, companies)
    return [project_id for (project_id,) in await ctx.read_model(ProjectAccessRow).find_values(hidden, "id")]


async def wait_until_private(ctx: Context, project_id: int) -> None:
    """Wait until the projection has the private project, so that no list shows its first build to others.

    Raises RequestRejected with SERVICE_UNAVAILABLE if that takes too long.
    """
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        row = await ctx.read_model(ProjectAccessRow).get(f"project-{project_id}")
        if row is not None and row.visibility is Visibility.PRIVATE:
            return
        if time.monotonic() > deadline:
            raise RequestRejected("SERVICE_UNAVAILABLE", "The project's permissions are being loaded.", retry_after=1)
        await asyncio.sleep(POLL_SECONDS)
