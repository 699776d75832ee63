"""Messages about companies."""

from datetime import datetime

from contracts.identity.fields import Ids, Name
from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageRequest


class CreateCompany(Command):
    """Create a company. Its members have all rights in the projects that it owns.

    Errors: COMPANY_TITLE_REQUIRED, COMPANY_ALIAS_INVALID, COMPANY_ALIAS_TAKEN, DEVELOPER_NOT_FOUND.
    """

    title: Name | None = None
    alias: Name | None = None  # None: derived from the title
    members_id: Ids = ()  # ids of users


class ChangeCompanyTitle(Command):
    """Change the title of a company, but not its alias. Errors: COMPANY_NOT_FOUND, COMPANY_TITLE_REQUIRED."""

    company_id: int
    title: Name | None = None


class RenameCompany(Command):
    """Change the alias of a company, which is also part of its projects' paths.

    Errors: COMPANY_NOT_FOUND, COMPANY_ALIAS_INVALID, COMPANY_ALIAS_TAKEN.
    """

    company_id: int
    alias: Name | None = None


class SetCompanyMembers(Command, wire_name="ChooseMembers"):
    """Replace the members of a company. Errors: COMPANY_NOT_FOUND, DEVELOPER_NOT_FOUND."""

    company_id: int
    members_id: Ids


class DeleteCompany(Command):
    """Delete a company. Errors: COMPANY_NOT_FOUND, and COMPANY_PROJECTS_NOT_EMPTY if it owns projects."""

    company_id: int


class CompanyCreated(Event):
    company_id: int
    alias: str
    title: str
    members_id: tuple[int, ...] = ()


class CompanyTitleChanged(Event):
    company_id: int
    title: str


class CompanyRenamed(Event):
    """The alias of a company changed, which is also part of its projects' paths."""

    company_id: int
    alias: str
    former_alias: str


class CompanyMembersSet(Event, wire_name="CompanyMembersChosen"):
    """The members of a company were replaced, or a member was removed."""

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
    """Get a company by id or alias (case-insensitive). Answer: CompanyView. Errors: COMPANY_NOT_FOUND."""

    company_id: int | None = None
    alias: str | None = None


class ListCompanies(PageRequest):
    """List all companies, by id. Answer: Page of CompanyView."""


CompanyEvent = CompanyCreated | CompanyTitleChanged | CompanyRenamed | CompanyMembersSet | CompanyDeleted
