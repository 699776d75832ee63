"""Model test of users: names, addresses and keys belong to one user, and the last administrator stays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from contracts.identity import (
    ROLES,
    ChangeEmail,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    RemoveSshKey,
    RenameUser,
    RevokeApiToken,
    SetUserEnabled,
    UserDeleted,
)
from services.identity.domain.internal_commands import (
    AddApiToken,
    AddKey,
    AddUser,
    Identity,
    SetIdentity,
    SetPasswordHash,
)
from services.identity.domain.user import UserCommand
from services.identity.projections import UserRow, user_category
from tests.support.external.ssh_keys import generate_public_key
from tests.support.model_tests.decider_machine import ACCEPTED, IGNORED, DeciderMachine, run_machine, seldom

USER_IDS = (1, 2, 3)
NAMES = ("ivan", "Ivan", "olga", " olga ", "-", "")
EMAILS = ("i@example.org", "I@Example.org", "o@example.org", " ", "no address", None)
IDENTITIES = tuple(Identity("https://sso.example.org", subject) for subject in ("17", "18", " "))
KEYS = tuple(generate_public_key() for _ in range(2))
TODAY = date(2030, 5, 1)
ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"


@dataclass(frozen=True)
class UserModel:
    name: str
    email: str | None
    roles: frozenset[str]
    is_enabled: bool = True
    github: str | None = None
    keys: frozenset[tuple[str, str]] = frozenset()  # (UUID, key)
    tokens: frozenset[int] = frozenset()
    identity: Identity | None = None
    epoch: int = 0
    is_deleted: bool = False

    @property
    def is_administrator(self) -> bool:
        return self.is_enabled and ADMIN in self.roles and not self.is_deleted

    def unique_names(self) -> Iterator[tuple[str, str]]:
        """Yield what no other user may have, with the code of the rejection."""
        if self.is_deleted:
            return
        yield f"name {self.name.lower()}", "DEVELOPER_USERNAME_TAKEN"
        if self.email:
            yield f"email {self.email.lower()}", "DEVELOPER_EMAIL_TAKEN"
        for _, key in self.keys:
            yield f"key {key}", "KEY_PUBLIC_KEY_TAKEN"
        if self.identity:
            yield f"identity {self.identity.subject}", "DEVELOPER_IDENTITY_TAKEN"

    def after_login_change(self, **changes: object) -> "UserModel":
        """Return the user after a change that ends the sessions and revokes the tokens."""
        return replace(self, epoch=self.epoch + 1, tokens=frozenset(), **changes)  # type: ignore[arg-type]

    def changed(self, command: UserCommand) -> "UserModel | str":
        """Return the user after the command, or the code of a rejection that does not depend on other users."""
        match command:
            case RenameUser(username=name):
                return name_problem(name) or replace(self, name=(name or "").strip())
            case ChangeEmail(email=email):
                return email_problem(email) or replace(self, email=(email or "").strip() or None)
            case ChangeRoles(roles=roles):
                if problem := roles_problem(roles):
                    return problem
                same = frozenset(roles or ()) == self.roles
                return self if same else self.after_login_change(roles=frozenset(roles or ()))
            case SetUserEnabled(enabled=None):
                return "DEVELOPER_ENABLED_REQUIRED"
            case SetUserEnabled(enabled=bool() as enabled):
                return self if enabled == self.is_enabled else self.after_login_change(is_enabled=enabled)
            case SetPasswordHash():
                return self.after_login_change()
            case ChangeProviderName(username=name):
                return replace(self, github=(name or "").strip() or None)
            case AddKey(public_key=str() as key):
                is_known = any(key == other for _, other in self.keys)
                return "KEY_PUBLIC_KEY_TAKEN" if is_known else replace(self, keys=self.keys | {(command.key_uuid, key)})
            case RemoveSshKey(key_uuid=uuid):
                kept = frozenset(entry for entry in self.keys if entry[0] != uuid)
                return "KEY_NOT_FOUND" if kept == self.keys else replace(self, keys=kept)
            case AddApiToken(token_id=token_id):
                return replace(self, tokens=self.tokens | {token_id}) if self.is_enabled else "CONFLICT"
            case RevokeApiToken(token_id=token_id):
                kept_tokens = self.tokens - {token_id}
                return "TOKEN_NOT_FOUND" if kept_tokens == self.tokens else replace(self, tokens=kept_tokens)
            case SetIdentity(identity=identity):
                if identity == self.identity:
                    return self
                if identity and not identity.subject.strip():
                    return "DEVELOPER_IDENTITY_INVALID"
                # a first link keeps the sessions, a replaced or removed one ends them
                return self.after_login_change(identity=identity) if self.identity else replace(self, identity=identity)
            case DeleteUser():
                return replace(self, is_deleted=True)
            case _:
                return "CONFLICT"  # AddUser: the user exists


def name_problem(name: str | None) -> str:
    text = (name or "").strip()
    return "DEVELOPER_USERNAME_REQUIRED" if not text else "DEVELOPER_USERNAME_INVALID" if text == "-" else ""


def email_problem(email: str | None) -> str:
    return "DEVELOPER_EMAIL_INVALID" if email == "no address" else ""


def roles_problem(roles: tuple[str, ...] | None) -> str:
    if roles is None:
        return "DEVELOPER_ROLES_REQUIRED"
    return "" if set(roles) <= set(ROLES) else "DEVELOPER_ROLES_INVALID"


@dataclass(frozen=True)
class UsersModel:
    users: Mapping[int, UserModel] = field(default_factory=dict)  # users by id

    def send(self, command: UserCommand) -> tuple["UsersModel", str]:
        before = self.users.get(command.user_id)
        if before is None and isinstance(command, AddUser):
            after = self.registered(command)
        elif before is None or before.is_deleted:
            return self, "DEVELOPER_NOT_FOUND"
        else:
            after = before.changed(command)
        if isinstance(after, str):
            return self, after
        if after == before:
            return self, IGNORED
        others = [user for id_, user in self.users.items() if id_ != command.user_id]
        taken = {name for user in others for name, _ in user.unique_names()}
        for name, code in after.unique_names():
            if name in taken:
                return self, code
        loses_administrator = before is not None and before.is_administrator and not after.is_administrator
        if loses_administrator and not any(user.is_administrator for user in others):
            return self, "DEVELOPER_LAST_ADMINISTRATOR"
        return UsersModel({**self.users, command.user_id: after}), ACCEPTED

    @property
    def token_ids(self) -> list[int]:
        return sorted(token_id for user in self.users.values() for token_id in user.tokens)

    @property
    def key_uuids(self) -> list[str]:
        return sorted(uuid for user in self.users.values() for uuid, _ in user.keys)

    def registered(self, command: AddUser) -> UserModel | str:
        problem = name_problem(command.username) or email_problem(command.email) or roles_problem(command.roles)
        name, email = (command.username or "").strip(), (command.email or "").strip() or None
        return problem or UserModel(name, email, frozenset(command.roles))


ids, names, emails = st.sampled_from(USER_IDS), st.sampled_from(NAMES), st.sampled_from(EMAILS)
some_roles = st.sampled_from(((), (ADMIN,), (DEVELOPER, ADMIN), ("ROLE_KING",)))
new_ids = st.runner().map(lambda machine: next(machine.new_ids))  # ids come from a sequence, as in the service
token_ids = st.runner().flatmap(lambda machine: st.sampled_from((0, *machine.model.token_ids)))
key_uuids = st.runner().flatmap(lambda machine: st.sampled_from(("", *machine.model.key_uuids)))


class UserMachine(DeciderMachine[UsersModel]):
    categories = (user_category,)
    deletions = (UserDeleted,)

    def __init__(self) -> None:
        self.new_ids = count(1)
        super().__init__()

    commands = seldom(
        st.builds(DeleteUser, user_id=ids),
        st.one_of(
            st.builds(
                lambda id_, name, email, roles: AddUser(id_, f"u{id_}", name, "sealed", email, roles),
                ids,
                names,
                emails,
                some_roles,
            ),
            st.builds(RenameUser, user_id=ids, username=names),
            st.builds(ChangeEmail, user_id=ids, email=emails),
            st.builds(ChangeRoles, user_id=ids, roles=st.none() | some_roles),
            st.builds(SetUserEnabled, user_id=ids, enabled=st.sampled_from((True, False, None))),
            st.builds(SetPasswordHash, ids, st.just("sealed again")),
            st.builds(ChangeProviderName, user_id=ids, provider=st.just("github"), username=names),
            st.builds(
                lambda id_, new, key: AddKey(id_, f"key-{new}", key, "Laptop", TODAY),
                ids,
                new_ids,
                st.sampled_from(KEYS),
            ),
            st.builds(RemoveSshKey, user_id=ids, key_uuid=key_uuids),
            st.builds(
                lambda id_, new: AddApiToken(id_, new, f"t{new}", "hash", "laptop", None, (), TODAY), ids, new_ids
            ),
            st.builds(RevokeApiToken, user_id=ids, token_id=token_ids),
            st.builds(SetIdentity, ids, st.sampled_from((*IDENTITIES, None))),
        ),
    )

    def new_model(self) -> UsersModel:
        return UsersModel()

    @rule()
    def add_administrators(self) -> None:
        """Add two administrators, so that the rules about the last one matter in most sequences."""
        for id_ in USER_IDS[:2]:
            self.send_in_turn(AddUser(id_, f"u{id_}", f"admin{id_}", "sealed", None, (ADMIN,)))

    def rows(self) -> dict[int, UserRow]:
        return {id_: self.followed[f"user-{id_}"].row for id_ in self.model.users}

    @invariant()
    def each_user_is_what_the_model_says(self) -> None:
        for id_, row in self.rows().items():
            user = self.model.users[id_]
            if user.is_deleted:
                assert row == UserRow()
                continue
            assert (row.id, row.username, row.email) == (id_, user.name, user.email)
            assert (frozenset(row.roles), row.enabled, row.github_username) == (
                user.roles,
                user.is_enabled,
                user.github,
            )
            assert (row.oidc_subject or None) == (user.identity.subject if user.identity else None)
            assert (row.epoch, frozenset(token.id for token in row.tokens)) == (user.epoch, user.tokens)
            assert {(key.uuid, key.public_key) for key in row.keys} == user.keys

    @invariant()
    def a_name_belongs_to_one_user(self) -> None:
        rows = [row for row in self.rows().values() if row.id]
        for names in (
            [row.username_key for row in rows],
            [row.email_key for row in rows if row.email_key],
            [key.fingerprint for row in rows for key in row.keys],
        ):
            assert len(set(names)) == len(names)

    @invariant()
    def the_last_administrator_stays(self) -> None:
        """Once there is an enabled administrator, there is always one."""
        administrators: set[int] = set()
        for commit in self.store.log:
            before, row = set(administrators), commit.row
            administrators.discard(number := int(commit.stream.partition("-")[2]))
            if isinstance(row, UserRow) and row.enabled and ADMIN in row.roles:
                administrators.add(number)
            assert administrators or not before


@pytest.mark.timeout(900)  # Hypothesis looks for a shorter failing example for up to five minutes
def test_users_follow_the_model() -> None:
    run_machine(UserMachine)
