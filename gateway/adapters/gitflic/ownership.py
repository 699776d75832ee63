"""Whose runners or files a path speaks of, and whether whoever asks may: administrators, and the owners themselves."""

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


async def authorize_project(asked: RequestContext) -> Owner:
    wanted = GetProjectByAlias(owner_alias=asked.path_params["owner_alias"], alias=asked.path_params["project_alias"])
    found = ProjectView.model_validate_json(await asked.send(wanted))
    if not asked.actor.is_admin and asked.actor.id != found.owner_user_id:
        await _require_member(asked, found.company_id)
    return "PROJECT", found.id


async def authorize_company(asked: RequestContext) -> Owner:
    found = await _fetch_company(asked, GetCompany(alias=asked.path_params["company_alias"]))
    if not asked.actor.is_admin and asked.actor.id not in found.members_id:
        raise _not_owner()
    return "COMPANY", found.id


async def _require_member(asked: RequestContext, company_id: int | None) -> None:
    """Only members of the company that owns the project."""
    if (
        company_id is None
        or asked.actor.id not in (await _fetch_company(asked, GetCompany(company_id=company_id))).members_id
    ):
        raise _not_owner()


async def _fetch_company(asked: RequestContext, wanted: GetCompany) -> CompanyView:
    return CompanyView.model_validate_json(await asked.send(wanted))


def _not_owner() -> RequestRejected:
    return RequestRejected("FORBIDDEN", "Only administrators and the owners themselves.")


# ---- what of it a message needs


def filter_by_owner(owner: FindOwner) -> Find:
    async def find(asked: RequestContext) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(asked)
        return {"owner_type": owner_type, "owner_id": owner_id}

    return find


def registration_scope_of(owner: FindOwner) -> Find:
    async def find(asked: RequestContext) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(asked)
        return {"scope": f"{owner_type.lower()}-{owner_id}"}

    return find


async def read_runner_uuid(asked: RequestContext) -> Mapping[str, Any]:
    """Whether it is there, the message itself finds out."""
    return {"runner_uuid": asked.path_params["runner_uuid"].lower()}


async def find_runner(asked: RequestContext) -> Mapping[str, Any]:
    return {"runner_uuid": (await _fetch_runner(asked)).uuid}


def find_runner_of(owner: FindOwner) -> Find:
    """A runner of this owner: those of others are not found here."""

    async def find(asked: RequestContext) -> Mapping[str, Any]:
        expected = await owner(asked)
        found = await _fetch_runner(asked)
        if (found.owner_type, found.owner_id) != expected:
            raise RequestRejected("RUNNER_NOT_FOUND")
        return {"runner_uuid": found.uuid}

    return find


async def _fetch_runner(asked: RequestContext) -> RunnerView:
    return RunnerView.model_validate_json(await asked.send(GetRunner.model_validate(await read_runner_uuid(asked))))


async def use_service_scope(_asked: RequestContext) -> Mapping[str, Any]:
    return {"scope": "service"}
