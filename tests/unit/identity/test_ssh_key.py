"""SSH keys of a user: validation, and reservation by fingerprint."""

from datetime import date

import pytest

from contracts.identity import (
    DeleteUser,
    RemoveSshKey,
    SshKeyAdded,
    SshKeyRemoved,
    UserDeleted,
    UserRegistered,
)
from libs.eventstore.decider import Release, Reserve
from libs.security.ssh_keys import compute_fingerprint
from services.identity.domain.internal_commands import AddKey
from services.identity.domain.ssh_key import MAX_KEYS_PER_USER
from services.identity.domain.user import User, evolve, reserve_names, user_decider
from tests.support.external.ssh_keys import WEAK_RSA_KEY, generate_public_key
from tests.support.scenario import Scenario

PUBLIC = generate_public_key() + " Иван\r\n"
OTHER = generate_public_key()
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"

registered = UserRegistered(user_id=7, user_uuid="u7", username="Ivan", sealed_password_hash="sealed", roles=())
add = AddKey(user_id=7, public_key=PUBLIC, title=" Laptop ", key_uuid="k1", today=date(2030, 5, 1))
added = SshKeyAdded(
    user_id=7, key_uuid="k1", public_key=PUBLIC, title="Laptop", fingerprint=compute_fingerprint(PUBLIC)
)
removed = SshKeyRemoved(user_id=7, key_uuid="k1")

ivan = Scenario(user_decider).given(registered)


def test_an_ssh_key_is_stored_as_it_was_sent() -> None:
    ivan.when(add).then(added)


@pytest.mark.parametrize("day", [date(2030, 5, 1), date(9999, 12, 31)])
def test_an_ssh_key_may_have_an_expiry_date(day: date) -> None:
    ivan.when(add.replace(expires_at=day)).then(added.replace(expires_at=day.isoformat()))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (add.replace(title=None), "KEY_TITLE_REQUIRED"),
        (add.replace(title="  "), "KEY_TITLE_REQUIRED"),
        (add.replace(public_key=None), "KEY_PUBLIC_KEY_REQUIRED"),
        (add.replace(public_key=" \r\n"), "KEY_PUBLIC_KEY_REQUIRED"),
        (add.replace(public_key=PUBLIC[:60]), "KEY_PUBLIC_KEY_INVALID"),
        (add.replace(public_key=WEAK_RSA_KEY), "KEY_PUBLIC_KEY_WEAK"),
        (add.replace(public_key=PRIVATE), "KEY_PUBLIC_KEY_PRIVATE"),
        (add.replace(expires_at=date(2030, 4, 30)), "KEY_EXPIRES_AT_PAST"),
    ],
)
def test_each_invalid_ssh_key_field_has_an_error_code(command: AddKey, code: str) -> None:
    ivan.when(command).then_refused(code)


def test_the_same_ssh_key_with_another_comment_is_a_duplicate() -> None:
    ivan.given(added).when(add.replace(key_uuid="k2", public_key=PUBLIC.replace("Иван", "Olga"))).then_refused(
        "KEY_PUBLIC_KEY_TAKEN"
    )


def test_the_number_of_ssh_keys_per_user_is_limited() -> None:
    many = (added.replace(key_uuid=f"k{number}", fingerprint=f"SHA256:{number}") for number in range(MAX_KEYS_PER_USER))
    ivan.given(*many).when(add.replace(key_uuid="one more")).then_refused("KEY_LIMIT")


def test_a_removed_ssh_key_may_be_added_again() -> None:
    ivan.given(added).when(RemoveSshKey(user_id=7, key_uuid="k1")).then(removed)
    ivan.given(added, removed).when(add).then(added)


@pytest.mark.parametrize("key_uuid", ["k1", "", "no uuid"])
def test_only_an_existing_ssh_key_can_be_removed(key_uuid: str) -> None:
    ivan.given(added, removed).when(RemoveSshKey(user_id=7, key_uuid=key_uuid)).then_refused("KEY_NOT_FOUND")


def test_a_missing_user_cannot_have_ssh_keys() -> None:
    Scenario(user_decider).when(add).then_refused("DEVELOPER_NOT_FOUND")
    ivan.given(UserDeleted(user_id=7, username="Ivan")).when(add).then_refused("DEVELOPER_NOT_FOUND")


def test_an_ssh_key_is_reserved_by_its_fingerprint_and_released() -> None:
    key = f"ssh-key:{compute_fingerprint(PUBLIC)}"
    user = evolve(evolve(User(), registered), added)
    assert reserve_names(User(), added) == [Reserve(key, "KEY_PUBLIC_KEY_TAKEN")]
    assert reserve_names(user, removed) == [Release(key)]


def test_deleting_a_user_releases_all_ssh_keys() -> None:
    second = added.replace(key_uuid="k2", public_key=OTHER, fingerprint=compute_fingerprint(OTHER))
    user = evolve(evolve(evolve(User(), registered), added), second)
    released = reserve_names(user, UserDeleted(user_id=7, username="Ivan"))
    assert [reservation.key for reservation in released][1:] == [
        f"ssh-key:{compute_fingerprint(PUBLIC)}",
        f"ssh-key:{compute_fingerprint(OTHER)}",
    ]
    assert {type(reservation) for reservation in released} == {Release}
    ivan.given(added).when(DeleteUser(user_id=7)).then(UserDeleted(user_id=7, user_uuid="u7"))
