"""A company: its alias is unique among all who may own projects, its members own its projects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from contracts.identity import (
    ChangeCompanyTitle,
    ChooseMembers,
    CompanyCommand,
    CompanyCreated,
    CompanyDeleted,
    CompanyEvent,
    CompanyMembersChosen,
    CompanyRenamed,
    CompanyTitleChanged,
    DeleteCompany,
    RecordCompany,
    RemoveMember,
    RenameCompany,
)
from libs.deciding import Claim, Decider, Refused, Release, Take
from services.identity.texts import USERNAME


@dataclass(frozen=True, slots=True)
class Company:
    """`settings` is the event that would create the company as it is now."""

    settings: CompanyCreated | None = None
    deleted: bool = False


def decide(company: Company, command: CompanyCommand) -> list[CompanyEvent]:
    company_id = command.company_id
    match company.settings, command:
        case None, RecordCompany() if not company.deleted:
            return [created(command)]
        case None, _:
            raise Refused("COMPANY_NOT_FOUND")
        case _, RecordCompany():
            raise Refused("CONFLICT", "this company exists already")
        case CompanyCreated(title=before), ChangeCompanyTitle(title=text):
            title = valid_title(text)
            return [CompanyTitleChanged(company_id=company_id, title=title)] if title != before else []
        case CompanyCreated(alias=before), RenameCompany(alias=text):
            alias = valid_alias(text)
            renamed = CompanyRenamed(company_id=company_id, alias=alias, former_alias=before)
            return [renamed] if alias != before else []
        case CompanyCreated(members_id=before), ChooseMembers(members_id=ids):
            members = unique(ids)
            return [CompanyMembersChosen(company_id=company_id, members_id=members)] if members != before else []
        case CompanyCreated(members_id=before), RemoveMember(member_id=one):
            others = tuple(other for other in before if other != one)
            return [CompanyMembersChosen(company_id=company_id, members_id=others)] if others != before else []
        case CompanyCreated(alias=alias), DeleteCompany():
            return [CompanyDeleted(company_id=company_id, alias=alias)]
        case _:
            raise AssertionError(f"{command.wire_name} is no command of a company")


def created(command: RecordCompany) -> CompanyCreated:
    return CompanyCreated(
        company_id=command.company_id,
        title=valid_title(command.title),
        alias=valid_alias(command.alias),
        members_id=unique(command.members_id),
    )


def evolve(company: Company, event: CompanyEvent) -> Company:
    match event:
        case CompanyCreated():
            return Company(event)
        case CompanyTitleChanged() | CompanyRenamed() | CompanyMembersChosen():
            # a change names its new value as the creation did
            return Company(
                company.settings.but(**event.model_dump(exclude={"former_alias"})) if company.settings else None
            )
        case CompanyDeleted():
            return Company(deleted=True)
        case _:
            assert_never(event)


def claims(company: Company, event: CompanyEvent) -> Sequence[Claim]:
    match event:
        case CompanyCreated(alias=alias):
            return [_alias(alias)]
        case CompanyRenamed(alias=alias, former_alias=former) if alias.lower() != former.lower():
            return [Release(_alias(former).key), _alias(alias)]
        case CompanyDeleted(alias=alias):
            return [Release(_alias(alias).key)]
        case _:
            return []


def _alias(alias: str) -> Take:
    """The space of names that users have theirs in."""
    return Take(f"owner:{alias.lower()}", "COMPANY_ALIAS_TAKEN")


def valid_title(text: str | None) -> str:
    title = (text or "").strip()
    if not title:
        raise Refused("COMPANY_TITLE_REQUIRED")
    if not title.isprintable():
        raise Refused("REQUEST_INVALID", "A title has no line breaks and no control characters.")
    return title


def valid_alias(text: str | None) -> str:
    alias = (text or "").strip()
    if not USERNAME.fullmatch(alias):
        raise Refused("COMPANY_ALIAS_INVALID")
    return alias


def unique(ids: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(ids)))


company_decider = Decider[CompanyCommand, Company, CompanyEvent](
    commands=(RecordCompany, ChangeCompanyTitle, RenameCompany, ChooseMembers, RemoveMember, DeleteCompany),
    stream=lambda command: f"company-{command.company_id}",
    initial=Company(),
    decide=decide,
    evolve=evolve,
    claims=claims,
    creates=(RecordCompany,),
)
