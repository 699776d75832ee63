"""The query for outgoing requests, and its authorization."""

from contracts.builds import GetProjectAccess, ProjectAccessView
from contracts.messages import Page
from contracts.notifications import ListOutgoing, OutgoingRow
from contracts.projects import ProjectAction
from libs.permissions.authorization import Authorization, require_administrator
from libs.permissions.rule import require_action
from libs.projections.paging import fetch_page
from libs.service.declaration import Context

NEWEST_FIRST = (("requested_at", -1), ("id", -1))


async def list_outgoing(ctx: Context, query: ListOutgoing) -> Page:
    condition = {} if query.project_id is None else {"project_id": query.project_id}
    return await fetch_page(
        ctx.read_model(OutgoingRow), query, lambda row: row, order=NEWEST_FIRST, condition=condition
    )


async def check_list(ctx: Context, query: ListOutgoing) -> None:
    """Allow administrators to list all requests, and maintainers those of their project."""
    if query.project_id is None:
        await require_administrator(ctx, query)
        return
    access = await ctx.query(GetProjectAccess(project_id=query.project_id), ProjectAccessView)
    actor = ctx.metadata.actor
    companies = [access.company_id] if access.company_id and actor.id in access.company_members_id else []
    require_action(access, actor, ProjectAction.MAINTAIN, companies, "PROJECT_NOT_FOUND")


authorize = Authorization({ListOutgoing: check_list})
