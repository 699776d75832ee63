"""Authorization rules of the service's messages. Users without ROLE_ADMIN cannot send a message that has no rule."""

from typing import Any

from contracts import notifications as contract
from contracts.projects import ProjectAction
from libs.permissions.authorization import AccessRule, Authorization, allow_all, require_administrator
from libs.permissions.lookups import fetch_company_members, fetch_project_access
from libs.permissions.rule import allows, require_action
from libs.service.declaration import Context
from services.notifications.receivers.receiver_projection import ReceiverRow


async def require_project_action(
    ctx: Context, project_id: int, action: ProjectAction, not_found: str = "PROJECT_NOT_FOUND"
) -> None:
    """Raise RequestRejected unless the actor may perform the action in the project.

    The code is `not_found` if the actor may not see the project or it does not exist, else FORBIDDEN.
    """
    access, actor = await fetch_project_access(ctx.as_system(), project_id), ctx.metadata.actor
    companies = []
    if access and access.company_id and not allows(access, actor, action):
        companies = [access.company_id] if actor.id in await fetch_company_members(ctx, access.company_id) else []
    require_action(access, actor, action, companies, not_found)


def of_project(action: ProjectAction) -> AccessRule:
    """Return the rule for messages with a `project_id`."""

    async def check(ctx: Context, message: Any) -> None:
        await require_project_action(ctx, message.project_id, action)

    return check


async def check_outgoing(ctx: Context, query: contract.ListOutgoing) -> None:
    """Allow administrators to list all requests, and maintainers of a project to list the project's requests."""
    if query.project_id is None:
        await require_administrator(ctx, query)
        return
    await require_project_action(ctx, query.project_id, ProjectAction.MAINTAIN)


async def check_receiver(ctx: Context, query: contract.GetReceiver) -> None:
    if row := await ctx.read_model(ReceiverRow).get(f"receiver-{query.receiver_id}"):
        await require_project_action(ctx, row.project_id, ProjectAction.MAINTAIN, "RECEIVER_NOT_FOUND")


MAINTAIN = of_project(ProjectAction.MAINTAIN)

authorize = Authorization(
    {
        # the handlers of these messages reject projects that the actor may not see
        contract.GetMailRule: allow_all,
        contract.ChangeMailRule: allow_all,
        contract.ListOutgoing: check_outgoing,
        contract.RepeatOutgoing: MAINTAIN,
        contract.GetReceiver: check_receiver,
        contract.ListReceivers: MAINTAIN,
        contract.CreateReceiver: MAINTAIN,
        contract.ChangeReceiver: MAINTAIN,
        contract.DeleteReceiver: MAINTAIN,
    }
)
