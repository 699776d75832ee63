"""Authorization rules of the service's messages. Users without ROLE_ADMIN cannot send a message that has no rule.

A runner of a project is managed by the project's maintainers, one of a company by the company's members, and one of the
whole server by administrators.
"""

from typing import Any

from contracts import runners as contract
from contracts.errors import RequestRejected
from contracts.projects import ProjectAction
from libs.permissions.authorization import Authorization, allow_all, require_administrator
from libs.permissions.lookups import fetch_company_members, fetch_project_access
from libs.permissions.rule import require_action
from libs.service.declaration import Context
from services.runners.domain.registration import parse_scope
from services.runners.domain.runner import runner_stream


async def check_owner(ctx: Context, owner_type: str | None, owner_id: int | None, not_found: str) -> None:
    """Raise RequestRejected unless the actor may manage the runners of this project or company.

    Runners of the server are always rejected: this is not called for administrators. The code is FORBIDDEN, or
    `not_found` if the actor may not see the project.
    """
    actor = ctx.metadata.actor
    if owner_type == "PROJECT" and owner_id is not None:
        access = await fetch_project_access(ctx, owner_id)
        company_id = access and access.company_id
        companies = [company_id] if company_id and actor.id in await fetch_company_members(ctx, company_id) else []
        require_action(access, actor, ProjectAction.MAINTAIN, companies, not_found)
    elif owner_type != "COMPANY" or actor.id not in await fetch_company_members(ctx, owner_id):
        raise RequestRejected("FORBIDDEN", "Only owners and administrators may do this.")


async def check_runner(ctx: Context, message: Any) -> None:
    """Check the owner of a runner. If there is no such runner, the handler rejects the message."""
    rows = ctx.read_model(contract.RunnerRow)
    runner_id = getattr(message, "runner_id", 0)
    found = await (rows.find_one({"id": runner_id}) if runner_id else rows.get(runner_stream(message.runner_uuid)))
    if found is not None:
        await check_owner(ctx, found.owner_type, found.owner_id, "RUNNER_NOT_FOUND")


async def check_list(ctx: Context, query: contract.ListRunners) -> None:
    await check_owner(ctx, query.owner_type, query.owner_id, "PROJECT_NOT_FOUND")


async def check_scope(
    ctx: Context, command: contract.RevealRegistrationToken | contract.ResetRegistrationToken
) -> None:
    owner_type, owner_id = parse_scope(command.scope)
    await check_owner(ctx, owner_type, owner_id, "PROJECT_NOT_FOUND")


authorize = Authorization(
    {
        contract.GetRunner: check_runner,
        contract.EditRunner: check_runner,
        contract.PauseRunner: check_runner,
        contract.DeleteRunner: check_runner,
        contract.ListRunners: check_list,
        contract.RevealRegistrationToken: check_scope,
        contract.ResetRegistrationToken: check_scope,
        # authenticated by the token of a runner or a registration token
        contract.RegisterRunner: allow_all,
        contract.AuthenticateRunner: allow_all,
        contract.RecordRunnerHeartbeat: allow_all,
        contract.ResetRunnerToken: require_administrator,
    }
)
