"""Finds the project or company in a GitFlic path, and admits only its owners and administrators."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany
from contracts.projects import GetProjectByAlias, ProjectView
from contracts.runners import GetRunner, OwnerType, RunnerView
from gateway.context import RequestContext
from gateway.framework.route_table import Find

Owner = tuple[OwnerType, int]
FindOwner = Callable[[RequestContext], Awaitable[Owner]]


async def authorize_project(context: RequestContext) -> Owner:
    """Return the project in the path. Raises PROJECT_NOT_FOUND, or FORBIDDEN for users who do not own the project."""
    query = GetProjectByAlias(
        owner_alias=context.path_params["owner_alias"], alias=context.path_params["project_alias"]
    )
    project = ProjectView.model_validate_json(await context.send(query))
    if not context.actor.is_admin and context.actor.id != project.owner_user_id:
        await _require_member(context, project.company_id)
    return "PROJECT", project.id


async def authorize_company(context: RequestContext) -> Owner:
    """Return the company in the path. Raises COMPANY_NOT_FOUND, or FORBIDDEN for users who are not its members."""
    company = await _fetch_company(context, GetCompany(alias=context.path_params["company_alias"]))
    if not context.actor.is_admin and context.actor.id not in company.members_id:
        raise _not_owner()
    return "COMPANY", company.id


async def _require_member(context: RequestContext, company_id: int | None) -> None:
    """Raise FORBIDDEN unless the user is a member of the company."""
    if (
        company_id is None
        or context.actor.id not in (await _fetch_company(context, GetCompany(company_id=company_id))).members_id
    ):
        raise _not_owner()


async def _fetch_company(context: RequestContext, query: GetCompany) -> CompanyView:
    return CompanyView.model_validate_json(await context.send(query))


def _not_owner() -> RequestRejected:
    return RequestRejected("FORBIDDEN", "Only owners and administrators may do this.")


# ---- resolvers: functions that return fields of a message, determined by the path


def filter_by_owner(owner: FindOwner) -> Find:
    """Return a resolver that gives the owner's type and id, which select runners for a list."""

    async def find(context: RequestContext) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(context)
        return {"owner_type": owner_type, "owner_id": owner_id}

    return find


def registration_scope_of(owner: FindOwner) -> Find:
    """Return a resolver that gives the owner's registration scope, like `project-17`."""

    async def find(context: RequestContext) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(context)
        return {"scope": f"{owner_type.lower()}-{owner_id}"}

    return find


async def read_runner_uuid(context: RequestContext) -> Mapping[str, Any]:
    """Return the runner's UUID from the path without a lookup. The service checks that the runner exists."""
    return {"runner_uuid": context.path_params["runner_uuid"].lower()}


async def find_runner(context: RequestContext) -> Mapping[str, Any]:
    """Look up the runner in the path and return its UUID. Raises RUNNER_NOT_FOUND."""
    return {"runner_uuid": (await _fetch_runner(context)).uuid}


def find_runner_of(owner: FindOwner) -> Find:
    """Return a resolver of the runner in the path. The resolver raises RUNNER_NOT_FOUND if another owner has it."""

    async def find(context: RequestContext) -> Mapping[str, Any]:
        expected = await owner(context)
        runner = await _fetch_runner(context)
        if (runner.owner_type, runner.owner_id) != expected:
            raise RequestRejected("RUNNER_NOT_FOUND")
        return {"runner_uuid": runner.uuid}

    return find


async def _fetch_runner(context: RequestContext) -> RunnerView:
    return RunnerView.model_validate_json(await context.send(GetRunner.model_validate(await read_runner_uuid(context))))


async def use_service_scope(_context: RequestContext) -> Mapping[str, Any]:
    return {"scope": "service"}
