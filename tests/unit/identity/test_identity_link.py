"""Links of users to accounts at an OpenID provider."""

from functools import reduce

import pytest

from contracts.identity import (
    ApiTokenCreated,
    DeleteUser,
    UserDeleted,
    UserEvent,
    UserIdentityLinked,
    UserIdentityUnlinked,
    UserRegistered,
)
from libs.eventstore.decider import Release, Reserve
from services.identity.domain.identity_link import identity_reservations
from services.identity.domain.internal_commands import AddUser, Identity, SetIdentity
from services.identity.domain.user import User, evolve, reserve_names, user_decider
from tests.support.scenario import Scenario

ISSUER = "https://sso.example.org"
ANNA, OTHER = Identity(ISSUER, "248289761001"), Identity(ISSUER, "17")
registered = UserRegistered(user_id=7, user_uuid="u7", username="anna", sealed_password_hash="sealed", roles=())
linked = UserIdentityLinked(user_id=7, issuer=ISSUER, subject=ANNA.subject)
user = Scenario(user_decider)


def fold(*events: UserEvent) -> User:
    return reduce(evolve, events, User())


def test_a_new_user_is_registered_and_linked_by_one_command() -> None:
    command = AddUser(username="anna", user_id=7, user_uuid="u7", sealed_password_hash="sealed", identity=ANNA)
    user.when(command).then(registered, linked)


def test_a_link_to_the_same_account_changes_nothing() -> None:
    user.given(registered).when(SetIdentity(7, ANNA)).then(linked)
    user.given(registered, linked).when(SetIdentity(7, ANNA)).then()


def test_another_account_replaces_the_link_and_ends_the_sessions() -> None:
    user.given(registered, linked).when(SetIdentity(7, OTHER)).then(
        UserIdentityUnlinked(user_id=7, epoch=1), linked.replace(subject=OTHER.subject)
    )


def test_a_removed_link_ends_the_sessions_and_revokes_the_tokens() -> None:
    token = ApiTokenCreated(user_id=7, token_id=1, token_uuid="t", token_hash="h", name="t", expires_at=None, scopes=())
    user.given(registered, linked).when(SetIdentity(7, None)).then(unlinked := UserIdentityUnlinked(user_id=7, epoch=1))
    user.given(registered).when(SetIdentity(7, None)).then()
    after = fold(registered, linked, token, unlinked)
    assert (after.identity, after.epoch, after.tokens) == (None, 1, ())


@pytest.mark.parametrize("subject", ["", " ", " a", "a" * 256, "a\nb", "żółw"])
def test_subjects_that_no_provider_has_are_rejected(subject: str) -> None:
    user.given(registered).when(SetIdentity(7, Identity(ISSUER, subject))).then_refused("DEVELOPER_IDENTITY_INVALID")


def test_an_account_belongs_to_one_user_until_the_link_is_removed() -> None:
    (reservation,) = identity_reservations(ANNA)
    before, after = fold(registered), fold(registered, linked)
    assert reserve_names(before, linked) == [reservation]
    assert isinstance(reservation, Reserve)
    assert (reservation.code, ANNA.subject in reservation.key) == ("DEVELOPER_IDENTITY_TAKEN", False)
    assert identity_reservations(Identity("https://other.example.org", ANNA.subject)) != [reservation]
    assert reserve_names(after, UserIdentityUnlinked(user_id=7, epoch=1)) == [Release(reservation.key)]
    assert Release(reservation.key) in reserve_names(after, UserDeleted(user_id=7, user_uuid="u7"))


def test_a_deleted_user_cannot_be_linked() -> None:
    deleted = user.given(registered, linked, UserDeleted(user_id=7, user_uuid="u7"))
    deleted.when(SetIdentity(7, ANNA)).then_refused("DEVELOPER_NOT_FOUND")
    deleted.when(DeleteUser(user_id=7)).then_refused("DEVELOPER_NOT_FOUND")
