"""SSH keys of a user: what may be added, and that a key is free again once nobody has it."""

from datetime import date

import pytest

from contracts.identity import (
    AddSshKey,
    DeleteUser,
    RemoveSshKey,
    SshKeyAdded,
    SshKeyRemoved,
    UserDeleted,
    UserRegistered,
)
from libs.deciding import Release, Take
from libs.security.ssh_keys import fingerprint
from libs.testing.scenario import Scenario
from services.identity.domain import User, claims, evolve, user_decider
from services.identity.key import MOST
from tests.support.ssh_keys import WEAK_RSA, new_key

PUBLIC = new_key() + " Иван\r\n"
OTHER = new_key()
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"

registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
add = AddSshKey(user_id=7, public_key=PUBLIC, title=" Laptop ", key_uuid="k1", today=date(2030, 5, 1))
added = SshKeyAdded(user_id=7, key_uuid="k1", public_key=PUBLIC, title="Laptop", fingerprint=fingerprint(PUBLIC))
removed = SshKeyRemoved(user_id=7, key_uuid="k1")

ivan = Scenario(user_decider).given(registered)


def test_a_key_is_kept_as_it_was_sent() -> None:
    ivan.when(add).then(added)


@pytest.mark.parametrize("day", [date(2030, 5, 1), date(9999, 12, 31)])
def test_a_key_may_have_a_last_day(day: date) -> None:
    ivan.when(add.but(expires_at=day)).then(added.but(expires_at=day.isoformat()))


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (add.but(title=None), "KEY_TITLE_REQUIRED"),
        (add.but(title="  "), "KEY_TITLE_REQUIRED"),
        (add.but(public_key=None), "KEY_PUBLIC_KEY_REQUIRED"),
        (add.but(public_key=" \r\n"), "KEY_PUBLIC_KEY_REQUIRED"),
        (add.but(public_key=PUBLIC[:60]), "KEY_PUBLIC_KEY_INVALID"),
        (add.but(public_key=WEAK_RSA), "KEY_PUBLIC_KEY_WEAK"),
        (add.but(public_key=PRIVATE), "KEY_PUBLIC_KEY_PRIVATE"),
        (add.but(expires_at=date(2030, 4, 30)), "KEY_EXPIRES_AT_PAST"),
    ],
)
def test_what_is_wrong_with_a_key_has_a_code(wish: AddSshKey, code: str) -> None:
    ivan.when(wish).then_refused(code)


def test_the_same_key_under_another_comment_is_the_same() -> None:
    ivan.given(added).when(add.but(key_uuid="k2", public_key=PUBLIC.replace("Иван", "Olga"))).then_refused(
        "KEY_PUBLIC_KEY_TAKEN"
    )


def test_nobody_has_keys_without_end() -> None:
    many = (added.but(key_uuid=f"k{number}", fingerprint=f"SHA256:{number}") for number in range(MOST))
    ivan.given(*many).when(add.but(key_uuid="one more")).then_refused("KEY_LIMIT")


def test_a_removed_key_may_be_added_again() -> None:
    ivan.given(added).when(RemoveSshKey(user_id=7, key_uuid="k1")).then(removed)
    ivan.given(added, removed).when(add).then(added)


@pytest.mark.parametrize("key_uuid", ["k1", "", "no uuid"])
def test_only_a_key_of_the_user_can_be_removed(key_uuid: str) -> None:
    ivan.given(added, removed).when(RemoveSshKey(user_id=7, key_uuid=key_uuid)).then_refused("KEY_NOT_FOUND")


def test_nobody_has_no_keys() -> None:
    Scenario(user_decider).when(add).then_refused("DEVELOPER_NOT_FOUND")
    ivan.given(UserDeleted(user_id=7, username="Ivan")).when(add).then_refused("DEVELOPER_NOT_FOUND")


def test_a_key_is_taken_by_its_fingerprint_and_given_back() -> None:
    key = f"ssh-key:{fingerprint(PUBLIC)}"
    user = evolve(evolve(User(), registered), added)
    assert claims(User(), added) == [Take(key, "KEY_PUBLIC_KEY_TAKEN")]
    assert claims(user, removed) == [Release(key)]


def test_all_keys_of_a_deleted_user_are_free() -> None:
    second = added.but(key_uuid="k2", public_key=OTHER, fingerprint=fingerprint(OTHER))
    user = evolve(evolve(evolve(User(), registered), added), second)
    freed = claims(user, UserDeleted(user_id=7, username="Ivan"))
    assert [one.key for one in freed][1:] == [f"ssh-key:{fingerprint(PUBLIC)}", f"ssh-key:{fingerprint(OTHER)}"]
    assert {type(one) for one in freed} == {Release}
    ivan.given(added).when(DeleteUser(user_id=7)).then(UserDeleted(user_id=7, username="Ivan"))
