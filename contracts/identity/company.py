"""A company: commands, events, questions and answers. Fields under "filled in" are overwritten by the service."""

from datetime import datetime

from contracts.identity.fields import Ids, Name
from contracts.messages import Command, Event, Message, Query


class CreateCompany(Command):
    """Its members are the owners of its projects. Answered like any recorded command."""

    title: Name | None = None
    alias: Name | None = None  # nothing: from the title, made unique
    members_id: Ids = ()  # users


class RecordCompany(CreateCompany):
    """The recorded half of CreateCompany; the service gives it to itself."""

    # filled in
    company_id: int = 0


class ChangeCompanyTitle(Command):
    company_id: int
    title: Name | None = None


class RenameCompany(Command):
    """Another alias; the company takes its projects along."""

    company_id: int
    alias: Name | None = None


class SetCompanyMembers(Command, wire_name="ChooseMembers"):
    company_id: int
    members_id: Ids


class RemoveMember(Command):
    company_id: int
    member_id: int


class DeleteCompany(Command):
    """COMPANY_PROJECTS_NOT_EMPTY while it owns projects."""

    company_id: int


# events


class CompanyCreated(Event):
    company_id: int
    alias: str
    title: str
    members_id: tuple[int, ...] = ()


class CompanyTitleChanged(Event):
    company_id: int
    title: str


class CompanyRenamed(Event):
    company_id: int
    alias: str
    former_alias: str


class CompanyMembersSet(Event, wire_name="CompanyMembersChosen"):
    company_id: int
    members_id: tuple[int, ...]


class CompanyDeleted(Event):
    company_id: int
    alias: str


class CompanyView(Message):
    id: int
    alias: str
    title: str
    members_id: tuple[int, ...]
    created_at: datetime


class GetCompany(Query):
    """One company, by id or by alias (case does not count)."""

    company_id: int | None = None
    alias: str | None = None


class ListCompanies(Query):
    """All companies by id."""


class Companies(Message):
    companies: tuple[CompanyView, ...]


CompanyCommand = RecordCompany | ChangeCompanyTitle | RenameCompany | SetCompanyMembers | RemoveMember | DeleteCompany
CompanyEvent = CompanyCreated | CompanyTitleChanged | CompanyRenamed | CompanyMembersSet | CompanyDeleted
