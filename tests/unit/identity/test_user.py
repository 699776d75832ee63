"""Commands to a user: validation, recorded events, reserved names, and changes that revoke access."""

from functools import reduce

import pytest

from contracts.identity import (
    AdministratorAnchored,
    ChangeEmail,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    RenameUser,
    SetUserEnabled,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserEvent,
    UserPasswordChanged,
    UserProviderNamesChanged,
    UserRegistered,
    UserRenamed,
    UserRolesChanged,
)
from libs.eventstore.decider import Release, Reserve
from services.identity.domain.internal_commands import AddUser, SetPasswordHash
from services.identity.domain.user import ANOTHER_ADMINISTRATOR, User, decide, evolve, reserve_names, user_decider
from tests.support.scenario import Scenario

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"

register = AddUser(username="Ivan", user_id=7, user_uuid="u7", sealed_password_hash="sealed")
registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
administrator = registered.replace(roles=(ADMIN, DEVELOPER))
disabled = UserDisabled(user_id=7, epoch=1)
deleted = UserDeleted(user_id=7, user_uuid="u7")
anchored = AdministratorAnchored(user_id=7, anchor=3)

user = Scenario(user_decider)


def fold(*events: UserEvent) -> User:
    return reduce(evolve, events, User())


def test_a_user_is_registered_enabled_with_trimmed_values() -> None:
    untidy = register.replace(
        username=" Ivan ",
        email=" ivan@example.org ",
        roles=(DEVELOPER, ADMIN, ADMIN),
        github_username="",
        gitlab_username=" iv ",
    )
    user.when(untidy).then(
        administrator.replace(email="ivan@example.org", gitlab_username="iv"),
    )


@pytest.mark.parametrize("username", [None, "", "  "])
def test_a_user_needs_a_username(username: str | None) -> None:
    user.when(register.replace(username=username)).then_refused("DEVELOPER_USERNAME_REQUIRED")


@pytest.mark.parametrize("username", ["-x", ".", "..", "a b", "a/b", "иван", "x" * 65, "a\0b"])
def test_usernames_with_other_characters_are_rejected(username: str) -> None:
    user.when(register.replace(username=username)).then_refused("DEVELOPER_USERNAME_INVALID")


@pytest.mark.parametrize(
    "email", ["ivan", "a@", "@b", "a b@c", "a@b\nBcc: x@y", "a@-b", "a@b,c@d", f"{'x' * 250}@b.org"]
)
def test_invalid_email_addresses_are_rejected(email: str) -> None:
    user.when(register.replace(email=email)).then_refused("DEVELOPER_EMAIL_INVALID")


def test_unknown_or_missing_roles_are_rejected() -> None:
    user.when(register.replace(roles=("ROLE_KING",))).then_refused("DEVELOPER_ROLES_INVALID")
    user.given(registered).when(ChangeRoles(user_id=7, roles=None)).then_refused("DEVELOPER_ROLES_REQUIRED")


@pytest.mark.parametrize(
    "command",
    [
        RenameUser(user_id=7, username="x"),
        SetPasswordHash(user_id=7, sealed_password_hash=""),
        DeleteUser(user_id=7),
        SetUserEnabled(user_id=7),
    ],
)
def test_a_missing_user_cannot_be_changed(command: RenameUser) -> None:
    user.when(command).then_refused("DEVELOPER_NOT_FOUND")
    user.given(registered, deleted).when(command).then_refused("DEVELOPER_NOT_FOUND")


def test_a_user_id_cannot_be_registered_twice() -> None:
    user.given(registered).when(register).then_refused("CONFLICT")


def test_a_rename_records_the_former_username() -> None:
    renamed = UserRenamed(user_id=7, username="Olga", former_username="Ivan")
    user.given(registered).when(RenameUser(user_id=7, username="Olga")).then(renamed)


def test_user_commands_without_effect_record_nothing() -> None:
    existing_user = user.given(administrator.replace(email="i@x.org", github_username="gh"))
    existing_user.when(RenameUser(user_id=7, username="Ivan")).then()
    existing_user.when(ChangeEmail(user_id=7, email="i@x.org")).then()
    existing_user.when(ChangeRoles(user_id=7, roles=(DEVELOPER, ADMIN))).then()
    existing_user.when(SetUserEnabled(user_id=7, enabled=True)).then()
    existing_user.when(ChangeProviderName(user_id=7, provider="github", username="gh")).then()


def test_an_empty_text_removes_an_email_address_or_provider_name() -> None:
    existing_user = user.given(registered.replace(email="i@x.org", github_username="gh", gitlab_username="gl"))
    existing_user.when(ChangeEmail(user_id=7, email="")).then(UserEmailChanged(user_id=7, email=None))
    existing_user.when(ChangeProviderName(user_id=7, provider="gitlab", username=" ")).then(
        UserProviderNamesChanged(user_id=7, github_username="gh", gitlab_username=None)
    )


def test_each_change_of_access_starts_a_new_epoch() -> None:
    password = UserPasswordChanged(user_id=7, sealed_password_hash="other", epoch=1)
    roles = UserRolesChanged(user_id=7, roles=(DEVELOPER,), epoch=2)
    off, on = UserDisabled(user_id=7, epoch=3), UserEnabled(user_id=7, epoch=4)
    user.given(registered).when(SetPasswordHash(user_id=7, sealed_password_hash="other")).then(password)
    user.given(registered, password).when(ChangeRoles(user_id=7, roles=(DEVELOPER,))).then(roles)
    user.given(registered, password, roles).when(SetUserEnabled(user_id=7, enabled=False)).then(off)
    user.given(registered, password, roles, off).when(SetUserEnabled(user_id=7, enabled=True)).then(on)


def test_enabled_must_be_true_or_false() -> None:
    user.given(registered).when(SetUserEnabled(user_id=7, enabled=None)).then_refused("DEVELOPER_ENABLED_REQUIRED")


@pytest.mark.parametrize(
    "command",
    [ChangeRoles(user_id=7, roles=(DEVELOPER,)), SetUserEnabled(user_id=7, enabled=False), DeleteUser(user_id=7)],
)
class TestTheRemovalOfAnAdministrator:
    def test_an_enabled_administrator_is_removed_if_another_remains(self, command: DeleteUser) -> None:
        [event] = decide(fold(administrator), command)
        assert ANOTHER_ADMINISTRATOR in reserve_names(fold(administrator), event)

    def test_a_disabled_administrator_is_removed_unconditionally(self, command: DeleteUser) -> None:
        before = fold(administrator, disabled)
        assert not any(ANOTHER_ADMINISTRATOR in reserve_names(before, event) for event in decide(before, command))

    def test_a_developer_is_removed_unconditionally(self, command: DeleteUser) -> None:
        before = fold(registered)
        assert not any(ANOTHER_ADMINISTRATOR in reserve_names(before, event) for event in decide(before, command))


def test_an_administrator_who_keeps_the_role_requires_no_other() -> None:
    changed = UserRolesChanged(user_id=7, roles=(ADMIN,), epoch=1)
    assert reserve_names(fold(administrator), changed) == []


def test_an_anchor_of_an_earlier_release_has_no_effect() -> None:
    assert fold(administrator, anchored) == fold(administrator)
    assert reserve_names(fold(administrator), anchored) == []


USERNAME, EMAIL = "DEVELOPER_USERNAME_TAKEN", "DEVELOPER_EMAIL_TAKEN"
with_email = evolve(User(), registered.replace(email="I@x.org"))


def test_usernames_are_reserved_case_insensitively() -> None:
    taken = [Reserve("owner:ivan", USERNAME), Reserve("email:i@x.org", EMAIL)]
    assert reserve_names(User(), registered.replace(email="I@x.org")) == taken


def test_a_changed_username_or_email_address_releases_the_old_one() -> None:
    renamed = UserRenamed(user_id=7, username="Olga", former_username="Ivan")
    changed = UserEmailChanged(user_id=7, email="o@x.org")
    assert reserve_names(with_email, renamed) == [Release("owner:ivan"), Reserve("owner:olga", USERNAME)]
    assert reserve_names(with_email, changed) == [Release("email:i@x.org"), Reserve("email:o@x.org", EMAIL)]
    assert reserve_names(with_email, changed.replace(email=None)) == [Release("email:i@x.org")]


def test_a_change_of_case_reserves_nothing() -> None:
    assert reserve_names(with_email, UserRenamed(user_id=7, username="IVAN", former_username="Ivan")) == []
    assert reserve_names(with_email, UserEmailChanged(user_id=7, email="i@X.org")) == []


def test_deleting_a_user_releases_all_reservations() -> None:
    assert reserve_names(with_email, deleted) == [Release("owner:ivan"), Release("email:i@x.org")]
