"""Dependencies that find the project, company or runner in a GitFlic path, and admit only owners and administrators.

Use them with `Security`, whose scopes reach the check of the user's token.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany, GetUser, UserView
from contracts.projects import GetProjectByAlias, ProjectView
from contracts.runners import GetRunner, OwnerType, RunnerView
from gateway.dependencies import Bus, gitflic_admin, gitflic_user
from gateway.forwarding.request_bus import RequestBus
from gateway.schemas.path_parameters import CompanyAlias, OwnerAlias, ProjectAlias, RunnerUuid, UserAlias
from libs.eventstore.decider import Actor

Owner = tuple[OwnerType, int]
FindOwner = Callable[..., Awaitable[Owner]]
User = Annotated[Actor, Depends(gitflic_user)]
Admin = Annotated[Actor, Depends(gitflic_admin)]


async def authorize_project(owner_alias: OwnerAlias, project_alias: ProjectAlias, user: User, bus: Bus) -> Owner:
    """Return the project in the path. Raises PROJECT_NOT_FOUND or FORBIDDEN.

    Administrators, the user who owns it and the members of the company that owns it may use the project.
    """
    answer = await bus.send(GetProjectByAlias(owner_alias=owner_alias, alias=project_alias), user)
    project = ProjectView.model_validate_json(answer)
    if not user.is_admin and user.id != project.owner_user_id:
        await _require_member(bus, user, project.company_id)
    return "PROJECT", project.id


async def authorize_company(company_alias: CompanyAlias, user: User, bus: Bus) -> Owner:
    """Return the company in the path. Raises COMPANY_NOT_FOUND, or FORBIDDEN for users who are not its members."""
    company = await _fetch_company(bus, user, GetCompany(alias=company_alias))
    if not user.is_admin and user.id not in company.members_id:
        raise _not_owner()
    return "COMPANY", company.id


async def _require_member(bus: RequestBus, user: Actor, company_id: int | None) -> None:
    if company_id is None:
        raise _not_owner()
    if user.id not in (await _fetch_company(bus, user, GetCompany(company_id=company_id))).members_id:
        raise _not_owner()


async def _fetch_company(bus: RequestBus, user: Actor, query: GetCompany) -> CompanyView:
    return CompanyView.model_validate_json(await bus.send(query, user))


def _not_owner() -> RequestRejected:
    return RequestRejected("FORBIDDEN", "Only owners and administrators may do this.")


def filter_by_owner(owner: FindOwner) -> Any:
    """Return a dependency that gives the owner's type and id, which select runners for a list."""

    async def find(owner: Annotated[Owner, Depends(owner)]) -> Mapping[str, Any]:
        owner_type, owner_id = owner
        return {"owner_type": owner_type, "owner_id": owner_id}

    return find


def registration_scope_of(owner: FindOwner) -> Any:
    """Return a dependency that gives the owner's registration scope, like `project-17`."""

    async def find(owner: Annotated[Owner, Depends(owner)]) -> str:
        owner_type, owner_id = owner
        return f"{owner_type.lower()}-{owner_id}"

    return find


async def read_runner_uuid(runner_uuid: RunnerUuid) -> str:
    """Return the runner's UUID from the path. The service, not this function, checks that the runner exists."""
    return runner_uuid.lower()


async def find_runner(runner_uuid: RunnerUuid, user: Admin, bus: Bus) -> str:
    """Look up the runner in the path and return its UUID. Raises RUNNER_NOT_FOUND."""
    return (await _fetch_runner(bus, user, runner_uuid)).uuid


def find_runner_of(owner: FindOwner) -> Any:
    """Return a dependency for the runner in the path. It raises RUNNER_NOT_FOUND if another owner has the runner."""

    async def find(owner: Annotated[Owner, Depends(owner)], runner_uuid: RunnerUuid, user: User, bus: Bus) -> str:
        runner = await _fetch_runner(bus, user, runner_uuid)
        if (runner.owner_type, runner.owner_id) != owner:
            raise RequestRejected("RUNNER_NOT_FOUND")
        return runner.uuid

    return find


async def _fetch_runner(bus: RequestBus, user: Actor, uuid: str) -> RunnerView:
    return RunnerView.model_validate_json(await bus.send(GetRunner(runner_uuid=uuid.lower()), user))


async def find_user(user_alias: UserAlias, user: Admin, bus: Bus) -> int:
    """Return the id of the user in the path. Raises DEVELOPER_NOT_FOUND."""
    return UserView.model_validate_json(await bus.send(GetUser(username=user_alias), user)).id
