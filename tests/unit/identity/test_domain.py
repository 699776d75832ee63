"""What may happen to users."""

import pytest

from contracts.identity import (
    AdministratorAnchored,
    AnchorAdministrator,
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    RegisterUser,
    RenameUser,
    SetUserEnabled,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserPasswordChanged,
    UserProviderNamesChanged,
    UserRegistered,
    UserRenamed,
    UserRolesChanged,
)
from libs.deciding import Release, Take
from libs.testing.scenario import Scenario
from services.identity.domain import User, claims, evolve, user_decider

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"

register = RegisterUser(username="Ivan", user_id=7, user_uuid="u7", sealed_password_hash="sealed")
registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
administrator = registered.but(roles=(ADMIN, DEVELOPER))
disabled = UserDisabled(user_id=7, epoch=1)
deleted = UserDeleted(user_id=7, username="Ivan")
anchored = AdministratorAnchored(user_id=7, anchor=3)

user = Scenario(user_decider)


def test_a_user_is_registered_enabled_with_tidy_values() -> None:
    wish = register.but(
        username=" Ivan ",
        email=" ivan@example.org ",
        roles=(DEVELOPER, ADMIN, ADMIN),
        github_username="",
        gitlab_username=" iv ",
    )
    user.when(wish).then(
        administrator.but(email="ivan@example.org", gitlab_username="iv"),
    )


@pytest.mark.parametrize("username", [None, "", "  "])
def test_a_user_needs_a_username(username: str | None) -> None:
    user.when(register.but(username=username)).then_refused("DEVELOPER_USERNAME_REQUIRED")


@pytest.mark.parametrize("username", ["-x", ".", "..", "a b", "a/b", "иван", "x" * 65, "a\0b"])
def test_usernames_are_plain(username: str) -> None:
    user.when(register.but(username=username)).then_refused("DEVELOPER_USERNAME_INVALID")


@pytest.mark.parametrize(
    "email", ["ivan", "a@", "@b", "a b@c", "a@b\nBcc: x@y", "a@-b", "a@b,c@d", f"{'x' * 250}@b.org"]
)
def test_emails_are_addresses(email: str) -> None:
    user.when(register.but(email=email)).then_refused("DEVELOPER_EMAIL_INVALID")


def test_only_known_roles_are_given() -> None:
    user.when(register.but(roles=("ROLE_KING",))).then_refused("DEVELOPER_ROLES_INVALID")
    user.given(registered).when(ChangeRoles(user_id=7, roles=None)).then_refused("DEVELOPER_ROLES_REQUIRED")


@pytest.mark.parametrize(
    "command",
    [RenameUser(user_id=7, username="x"), ChangePassword(user_id=7), DeleteUser(user_id=7), SetUserEnabled(user_id=7)],
)
def test_who_does_not_exist_cannot_change(command: RenameUser) -> None:
    user.when(command).then_refused("DEVELOPER_NOT_FOUND")
    user.given(registered, deleted).when(command).then_refused("DEVELOPER_NOT_FOUND")


def test_nobody_is_registered_twice_under_one_number() -> None:
    user.given(registered).when(register).then_refused("CONFLICT")


def test_a_renaming_remembers_the_former_name() -> None:
    renamed = UserRenamed(user_id=7, username="Olga", former_username="Ivan")
    user.given(registered).when(RenameUser(user_id=7, username="Olga")).then(renamed)


def test_wishes_that_are_already_true_change_nothing() -> None:
    there = user.given(administrator.but(email="i@x.org", github_username="gh"))
    there.when(RenameUser(user_id=7, username="Ivan")).then()
    there.when(ChangeEmail(user_id=7, email="i@x.org")).then()
    there.when(ChangeRoles(user_id=7, roles=(DEVELOPER, ADMIN))).then()
    there.when(SetUserEnabled(user_id=7, enabled=True)).then()
    there.when(ChangeProviderName(user_id=7, provider="github", username="gh")).then()


def test_empty_text_takes_an_email_or_provider_name_away() -> None:
    there = user.given(registered.but(email="i@x.org", github_username="gh", gitlab_username="gl"))
    there.when(ChangeEmail(user_id=7, email="")).then(UserEmailChanged(user_id=7, email=None))
    there.when(ChangeProviderName(user_id=7, provider="gitlab", username=" ")).then(
        UserProviderNamesChanged(user_id=7, github_username="gh", gitlab_username=None)
    )


def test_each_change_of_access_begins_a_new_epoch() -> None:
    password = UserPasswordChanged(user_id=7, sealed_password_hash="other", epoch=1)
    roles = UserRolesChanged(user_id=7, roles=(DEVELOPER,), epoch=2)
    off, on = UserDisabled(user_id=7, epoch=3), UserEnabled(user_id=7, epoch=4)
    user.given(registered).when(ChangePassword(user_id=7, sealed_password_hash="other")).then(password)
    user.given(registered, password).when(ChangeRoles(user_id=7, roles=(DEVELOPER,))).then(roles)
    user.given(registered, password, roles).when(SetUserEnabled(user_id=7, enabled=False)).then(off)
    user.given(registered, password, roles, off).when(SetUserEnabled(user_id=7, enabled=True)).then(on)


def test_enabled_is_true_or_false() -> None:
    user.given(registered).when(SetUserEnabled(user_id=7, enabled=None)).then_refused("DEVELOPER_ENABLED_REQUIRED")


@pytest.mark.parametrize(
    "command",
    [ChangeRoles(user_id=7, roles=(DEVELOPER,)), SetUserEnabled(user_id=7, enabled=False), DeleteUser(user_id=7)],
)
class TestAnEnabledAdministrator:
    def test_stays_while_nobody_else_is_anchored(self, command: DeleteUser) -> None:
        user.given(administrator).when(command).then_refused("DEVELOPER_LAST_ADMINISTRATOR")

    def test_stays_while_it_holds_the_highest_anchor(self, command: DeleteUser) -> None:
        user.given(administrator, anchored).when(command.but(anchor=3)).then_refused("DEVELOPER_LAST_ADMINISTRATOR")

    def test_may_go_when_somebody_holds_a_higher_anchor(self, command: DeleteUser) -> None:
        assert user.given(administrator, anchored).when(command.but(anchor=4)).refusal is None

    def test_may_go_freely_once_disabled(self, command: DeleteUser) -> None:
        assert user.given(administrator, disabled).when(command).refusal is None


def test_only_an_enabled_administrator_is_anchored() -> None:
    anchor = AnchorAdministrator(user_id=7, anchor=3)
    user.given(administrator).when(anchor).then(anchored)
    user.given(registered).when(anchor).then_refused("CONFLICT")
    user.given(administrator, disabled).when(anchor).then_refused("CONFLICT")


USERNAME, EMAIL = "DEVELOPER_USERNAME_TAKEN", "DEVELOPER_EMAIL_TAKEN"
with_email = evolve(User(), registered.but(email="I@x.org"))


def test_names_are_claimed_without_regard_to_case() -> None:
    taken = [Take("owner:ivan", USERNAME), Take("email:i@x.org", EMAIL)]
    assert claims(User(), registered.but(email="I@x.org")) == taken


def test_a_new_name_gives_the_old_one_back() -> None:
    renamed = UserRenamed(user_id=7, username="Olga", former_username="Ivan")
    changed = UserEmailChanged(user_id=7, email="o@x.org")
    assert claims(with_email, renamed) == [Release("owner:ivan"), Take("owner:olga", USERNAME)]
    assert claims(with_email, changed) == [Release("email:i@x.org"), Take("email:o@x.org", EMAIL)]
    assert claims(with_email, changed.but(email=None)) == [Release("email:i@x.org")]


def test_another_spelling_of_the_same_name_claims_nothing() -> None:
    assert claims(with_email, UserRenamed(user_id=7, username="IVAN", former_username="Ivan")) == []
    assert claims(with_email, UserEmailChanged(user_id=7, email="i@X.org")) == []


def test_deleting_gives_all_names_back() -> None:
    assert claims(with_email, deleted) == [Release("owner:ivan"), Release("email:i@x.org")]


def test_each_anchor_is_given_once() -> None:
    assert claims(User(), anchored) == [Take("anchor:3", "CONFLICT")]
