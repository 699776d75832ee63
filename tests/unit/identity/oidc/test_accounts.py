"""Names and roles that the claims of an account give to its user."""

from typing import Any

import pytest

from contracts.errors import RequestRejected
from libs.settings import OidcSettings
from services.identity.oidc.accounts import (
    has_wanted_claims,
    is_admitted,
    read_groups,
    read_username,
    read_verified_email,
    roles_of,
)

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"
NO_GROUPS = OidcSettings()
ADMINS = OidcSettings(admin_group="admins")
BOTH = OidcSettings(admin_group="admins", developer_group="developers")


@pytest.mark.parametrize(
    ("settings", "groups", "current", "roles"),
    [
        (NO_GROUPS, (), None, (DEVELOPER,)),
        (NO_GROUPS, ("admins",), (ADMIN,), (ADMIN,)),
        (NO_GROUPS, (), (), ()),
        (ADMINS, ("admins",), None, (ADMIN, DEVELOPER)),
        (ADMINS, (), None, (DEVELOPER,)),
        (ADMINS, (), (ADMIN, DEVELOPER), (DEVELOPER,)),
        (ADMINS, ("admins",), (), (ADMIN,)),
        (BOTH, ("developers",), (ADMIN,), (DEVELOPER,)),
        (BOTH, ("admins",), None, (ADMIN,)),
        (BOTH, ("Admins", "others"), (ADMIN, DEVELOPER), ()),
    ],
)
def test_a_group_alone_decides_about_its_role(
    settings: OidcSettings, groups: tuple[str, ...], current: tuple[str, ...] | None, roles: tuple[str, ...]
) -> None:
    assert roles_of(frozenset(groups), settings, current) == roles


def test_with_a_group_of_developers_other_accounts_are_refused() -> None:
    assert is_admitted(frozenset(), ADMINS)
    assert is_admitted(frozenset({"admins"}), BOTH)
    assert is_admitted(frozenset({"developers"}), BOTH)
    assert not is_admitted(frozenset({"others"}), BOTH)
    assert not is_admitted(frozenset({""}), OidcSettings(developer_group="developers"))


@pytest.mark.parametrize(
    ("claims", "groups"),
    [
        ({}, set()),
        ({"groups": ["a", 7, None, "b"]}, {"a", "b"}),
        ({"groups": "a"}, {"a"}),
        ({"groups": {"a": 1}}, set()),
        ({"groups": None}, set()),
    ],
)
def test_groups_are_a_list_of_names(claims: dict[str, Any], groups: set[str]) -> None:
    assert read_groups(claims, BOTH) == groups


def test_an_account_with_too_many_groups_does_not_lose_its_roles() -> None:
    with pytest.raises(RequestRejected, match="OIDC_RESPONSE_INVALID"):
        read_groups({"_claim_names": {"groups": "src1"}, "_claim_sources": {}}, BOTH)


@pytest.mark.parametrize(("name", "username"), [("anna", "anna"), ("anna@example.org", "anna"), (" Anna ", "Anna")])
def test_the_username_is_the_name_or_the_local_part_of_an_address(name: str, username: str) -> None:
    assert read_username({"preferred_username": name}, NO_GROUPS) == username


@pytest.mark.parametrize("name", [None, "", "@example.org", "anna smith", "../x", 7, ["anna"]])
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(RequestRejected, match="OIDC_USERNAME_INVALID"):
        read_username({"preferred_username": name}, NO_GROUPS)


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"email": "anna@example.org", "email_verified": True}, "anna@example.org"),
        ({"email": "anna@example.org", "email_verified": "true"}, None),
        ({"email": "anna@example.org"}, None),
        ({"email": "no address", "email_verified": True}, None),
        ({"email_verified": True}, None),
    ],
)
def test_only_a_verified_address_is_used(claims: dict[str, Any], email: str | None) -> None:
    assert read_verified_email(claims) == email


def test_the_userinfo_endpoint_is_needed_only_for_missing_claims() -> None:
    assert has_wanted_claims({}, NO_GROUPS)
    assert not has_wanted_claims({}, OidcSettings(create_users=True))
    assert not has_wanted_claims({"preferred_username": "anna"}, ADMINS)
    assert has_wanted_claims({"groups": []}, ADMINS)
