"""Whose runners or files a path speaks of, and whether whoever asks may: administrators, and the owners themselves."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contracts.errors import Refused
from contracts.identity import CompanyView, GetCompany
from contracts.projects import FindProject, ProjectView
from contracts.runners import GetRunner, OwnerType, RunnerView
from gateway.asked import Asked
from gateway.routing import Find

Owner = tuple[OwnerType, int]
FindOwner = Callable[[Asked], Awaitable[Owner]]


async def project(asked: Asked) -> Owner:
    wanted = FindProject(owner_alias=asked.captured["owner_alias"], alias=asked.captured["project_alias"])
    found = ProjectView.model_validate_json(await asked.send(wanted))
    if not asked.actor.is_admin and asked.actor.id != found.owner_user_id:
        await _admit(asked, found.company_id)
    return "PROJECT", found.id


async def company(asked: Asked) -> Owner:
    found = await _company(asked, GetCompany(alias=asked.captured["company_alias"]))
    if not asked.actor.is_admin and asked.actor.id not in found.members_id:
        raise _foreign()
    return "COMPANY", found.id


async def _admit(asked: Asked, company_id: int | None) -> None:
    """Only members of the company that owns the project."""
    if (
        company_id is None
        or asked.actor.id not in (await _company(asked, GetCompany(company_id=company_id))).members_id
    ):
        raise _foreign()


async def _company(asked: Asked, wanted: GetCompany) -> CompanyView:
    return CompanyView.model_validate_json(await asked.send(wanted))


def _foreign() -> Refused:
    return Refused("FORBIDDEN", "Only administrators and the owners themselves.")


# ---- what of it a message needs


def runners_of(owner: FindOwner) -> Find:
    async def find(asked: Asked) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(asked)
        return {"owner_type": owner_type, "owner_id": owner_id}

    return find


def scope_of(owner: FindOwner) -> Find:
    async def find(asked: Asked) -> Mapping[str, Any]:
        owner_type, owner_id = await owner(asked)
        return {"scope": f"{owner_type.lower()}-{owner_id}"}

    return find


async def any_runner(asked: Asked) -> Mapping[str, Any]:
    """Whether it is there, the message itself finds out."""
    return {"runner_uuid": asked.captured["runner_uuid"].lower()}


async def known_runner(asked: Asked) -> Mapping[str, Any]:
    return {"runner_uuid": (await _runner(asked)).uuid}


def runner_of(owner: FindOwner) -> Find:
    """A runner of this owner: those of others are not found here."""

    async def find(asked: Asked) -> Mapping[str, Any]:
        expected = await owner(asked)
        found = await _runner(asked)
        if (found.owner_type, found.owner_id) != expected:
            raise Refused("RUNNER_NOT_FOUND")
        return {"runner_uuid": found.uuid}

    return find


async def _runner(asked: Asked) -> RunnerView:
    return RunnerView.model_validate_json(await asked.send(GetRunner.model_validate(await any_runner(asked))))


async def service(_asked: Asked) -> Mapping[str, Any]:
    return {"scope": "service"}
