"""Commands to a company: validation, recorded events, and the reservation of its alias."""

import pytest

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
from libs.eventstore.decider import Release, Reservation, Reserve
from services.identity.domain.company import Company, CompanyCommand, company_decider, reserve_names
from services.identity.domain.internal_commands import AddCompany, RemoveMember
from tests.support.scenario import Scenario

record = AddCompany(company_id=4, title="Mill Works", alias="Mill", members_id=(7, 8))
created = CompanyCreated(company_id=4, title="Mill Works", alias="Mill", members_id=(7, 8))
renamed = CompanyRenamed(company_id=4, alias="wheel", former_alias="Mill")
deleted = CompanyDeleted(company_id=4, alias="Mill")

company = Scenario(company_decider)
existing_company = company.given(created)


def test_a_company_is_created_with_trimmed_values() -> None:
    untidy = record.replace(title=" Mill Works ", alias=" Mill ", members_id=(8, 7, 8))
    company.when(untidy).then(created)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title": " "}, "COMPANY_TITLE_REQUIRED"),
        ({"title": None}, "COMPANY_TITLE_REQUIRED"),
        ({"title": "a\nb"}, "REQUEST_INVALID"),
        ({"alias": "a b"}, "COMPANY_ALIAS_INVALID"),
        ({"alias": "-a"}, "COMPANY_ALIAS_INVALID"),
        ({"alias": "a/b"}, "COMPANY_ALIAS_INVALID"),
        ({"alias": "x" * 65}, "COMPANY_ALIAS_INVALID"),
    ],
)
def test_a_company_needs_a_title_and_a_valid_alias(changes: dict[str, str], code: str) -> None:
    company.when(record.replace(**changes)).then_refused(code)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (ChangeCompanyTitle(company_id=4, title="Wheel"), CompanyTitleChanged(company_id=4, title="Wheel")),
        (RenameCompany(company_id=4, alias="wheel"), renamed),
        (SetCompanyMembers(company_id=4, members_id=(9, 7)), CompanyMembersSet(company_id=4, members_id=(7, 9))),
        (SetCompanyMembers(company_id=4, members_id=()), CompanyMembersSet(company_id=4, members_id=())),
        (RemoveMember(company_id=4, member_id=7), CompanyMembersSet(company_id=4, members_id=(8,))),
        (DeleteCompany(company_id=4), deleted),
    ],
)
def test_each_company_command_records_one_event(command: CompanyCommand, event: CompanyEvent) -> None:
    existing_company.when(command).then(event)


@pytest.mark.parametrize(
    "command",
    [
        ChangeCompanyTitle(company_id=4, title="Mill Works"),
        RenameCompany(company_id=4, alias="Mill"),
        SetCompanyMembers(company_id=4, members_id=(8, 7)),
        RemoveMember(company_id=4, member_id=9),
    ],
)
def test_company_commands_without_effect_record_nothing(command: CompanyCommand) -> None:
    existing_company.when(command).then()


@pytest.mark.parametrize(
    "command",
    [
        ChangeCompanyTitle(company_id=4, title="Wheel"),
        RenameCompany(company_id=4, alias="wheel"),
        SetCompanyMembers(company_id=4, members_id=()),
        RemoveMember(company_id=4, member_id=7),
        DeleteCompany(company_id=4),
    ],
)
def test_a_missing_company_cannot_be_changed(command: CompanyCommand) -> None:
    company.when(command).then_refused("COMPANY_NOT_FOUND")
    existing_company.given(deleted).when(command).then_refused("COMPANY_NOT_FOUND")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (created, [Reserve("owner:mill", "COMPANY_ALIAS_TAKEN")]),
        (renamed, [Release("owner:mill"), Reserve("owner:wheel", "COMPANY_ALIAS_TAKEN")]),
        (renamed.replace(alias="MILL"), []),
        (CompanyTitleChanged(company_id=4, title="Wheel"), []),
        (deleted, [Release("owner:mill")]),
    ],
)
def test_a_company_reserves_its_alias_among_all_owners(event: CompanyEvent, expected: list[Reservation]) -> None:
    assert reserve_names(Company(created), event) == expected
