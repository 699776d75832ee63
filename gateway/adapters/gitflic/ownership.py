"""Dependencies that find the project, company or runner in a GitFlic path.

The services check the user's rights in a project. Declare the dependencies with `Security(..., scopes=[...])`: a
personal token must have the scopes.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany, GetUser, UserView
from contracts.projects import GetProjectByAlias, ProjectAction, ProjectView
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
    """Return PROJECT and the id of the project in the path.

    Raises PROJECT_NOT_FOUND, or FORBIDDEN if the user may not manage the project's runners.
    """
    return await _find_project(bus, user, owner_alias, project_alias, ProjectAction.MAINTAIN)


async def find_readable_project(owner_alias: OwnerAlias, project_alias: ProjectAlias, user: User, bus: Bus) -> Owner:
    """Return PROJECT and the id of the project in the path. Raises PROJECT_NOT_FOUND if the user may not see it."""
    return await _find_project(bus, user, owner_alias, project_alias, ProjectAction.READ)


async def _find_project(bus: RequestBus, user: Actor, owner_alias: str, alias: str, action: ProjectAction) -> Owner:
    answer = await bus.send(GetProjectByAlias(owner_alias=owner_alias, alias=alias, action=action), user)
    return "PROJECT", ProjectView.model_validate_json(answer).id


async def authorize_company(company_alias: CompanyAlias, user: User, bus: Bus) -> Owner:
    """Return COMPANY and the id of the company in the path. Raises COMPANY_NOT_FOUND, or FORBIDDEN for non-members."""
    company = await _fetch_company(bus, user, GetCompany(alias=company_alias))
    if not user.is_admin and user.id not in company.members_id:
        raise RequestRejected("FORBIDDEN", "Only owners and administrators may do this.")
    return "COMPANY", company.id


async def _fetch_company(bus: RequestBus, user: Actor, query: GetCompany) -> CompanyView:
    return CompanyView.model_validate_json(await bus.send(query, user))


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
    """Return the runner's UUID from the path in lower case. The service checks that the runner exists."""
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
