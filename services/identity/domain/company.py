"""The company aggregate. Its alias is unique among users and companies.

The members of a company have the rights of an owner in the company's projects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.identity import (
    ChangeCompanyTitle,
    CompanyCreated,
    CompanyDeleted,
    CompanyEvent,
    CompanyMembersSet,
    CompanyRenamed,
    CompanyTitleChanged,
    DeleteCompany,
    RenameCompany,
    SetCompanyMembers,
)
from libs.eventstore.decider import Decider, Release, RequestRejected, Reservation, Reserve
from libs.normalization import sort_unique
from services.identity.domain.internal_commands import AddCompany, RemoveMember
from services.identity.domain.validation import USERNAME_PATTERN

CompanyCommand = AddCompany | ChangeCompanyTitle | RenameCompany | SetCompanyMembers | RemoveMember | DeleteCompany


@dataclass(frozen=True, slots=True)
class Company:
    """State of a company. `settings` is the event that would create the company in its current state."""

    settings: CompanyCreated | None = None
    deleted: bool = False


def decide(company: Company, command: CompanyCommand) -> list[CompanyEvent]:
    company_id = command.company_id
    match company.settings, command:
        case None, AddCompany() if not company.deleted:
            return [make_company_created(command)]
        case None, _:
            raise RequestRejected("COMPANY_NOT_FOUND")
        case _, AddCompany():
            raise RequestRejected("CONFLICT", "This company already exists.")
        case CompanyCreated(title=before), ChangeCompanyTitle(title=text):
            title = validate_title(text)
            return [CompanyTitleChanged(company_id=company_id, title=title)] if title != before else []
        case CompanyCreated(alias=before), RenameCompany(alias=text):
            alias = validate_alias(text)
            renamed = CompanyRenamed(company_id=company_id, alias=alias, former_alias=before)
            return [renamed] if alias != before else []
        case CompanyCreated(members_id=before), SetCompanyMembers(members_id=ids):
            members = sort_unique(ids)
            return [CompanyMembersSet(company_id=company_id, members_id=members)] if members != before else []
        case CompanyCreated(members_id=before), RemoveMember(member_id=member_id):
            others = tuple(other for other in before if other != member_id)
            return [CompanyMembersSet(company_id=company_id, members_id=others)] if others != before else []
        case CompanyCreated(alias=alias), DeleteCompany():
            return [CompanyDeleted(company_id=company_id, alias=alias)]
        case _:
            raise AssertionError(f"{command.wire_name} is not a company command")


def make_company_created(command: AddCompany) -> CompanyCreated:
    return CompanyCreated(
        company_id=command.company_id,
        title=validate_title(command.title),
        alias=validate_alias(command.alias),
        members_id=sort_unique(command.members_id),
    )


def evolve(company: Company, event: CompanyEvent) -> Company:
    match event:
        case CompanyCreated():
            return Company(event)
        case CompanyTitleChanged() | CompanyRenamed() | CompanyMembersSet():
            # change events use the same field names as CompanyCreated
            return Company(
                company.settings.replace(**event.model_dump(exclude={"former_alias"})) if company.settings else None
            )
        case CompanyDeleted():
            return Company(deleted=True)
        case _:
            assert_never(event)


def reserve_names(company: Company, event: CompanyEvent) -> Sequence[Reservation]:
    match event:
        case CompanyCreated(alias=alias):
            return [_alias_reservation(alias)]
        case CompanyRenamed(alias=alias, former_alias=former) if alias.lower() != former.lower():
            return [Release(_alias_reservation(former).key), _alias_reservation(alias)]
        case CompanyDeleted(alias=alias):
            return [Release(_alias_reservation(alias).key)]
        case _:
            return []


def _alias_reservation(alias: str) -> Reserve:
    """Return the reservation of an alias, in the namespace that users and companies share."""
    return Reserve(f"owner:{alias.lower()}", "COMPANY_ALIAS_TAKEN")


def validate_title(text: str | None) -> str:
    title = (text or "").strip()
    if not title:
        raise RequestRejected("COMPANY_TITLE_REQUIRED")
    if not title.isprintable():
        raise RequestRejected("REQUEST_INVALID", "A title cannot contain line breaks or control characters.")
    return title


def validate_alias(text: str | None) -> str:
    alias = (text or "").strip()
    if not USERNAME_PATTERN.fullmatch(alias):
        raise RequestRejected("COMPANY_ALIAS_INVALID")
    return alias


company_decider = Decider[CompanyCommand, Company, CompanyEvent](
    commands=(AddCompany, ChangeCompanyTitle, RenameCompany, SetCompanyMembers, RemoveMember, DeleteCompany),
    stream=lambda command: f"company-{command.company_id}",
    initial=Company(),
    decide=decide,
    evolve=evolve,
    reservations=reserve_names,
    initial_commands=(AddCompany,),
)
