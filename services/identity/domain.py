"""A user: names are unique, roles are known, and an enabled administrator always remains."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import assert_never

from contracts.identity import (
    AddSshKey,
    AdministratorAnchored,
    AnchorAdministrator,
    ApiTokenCreated,
    ApiTokenRevoked,
    ChangeEmail,
    ChangePassword,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    RecordApiToken,
    RegisterUser,
    RemoveSshKey,
    RenameUser,
    RevokeApiToken,
    SetUserEnabled,
    SshKeyAdded,
    SshKeyRemoved,
    UserCommand,
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
from libs.deciding import Claim, Decider, Refused, Release, Take
from services.identity import key
from services.identity.texts import optional, valid_email, valid_roles, valid_username

TOKENS = 100  # of one user
NOT_IN_NAMES = frozenset("{}$")


class Status(Enum):
    NEW = "new"
    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class User:
    status: Status = Status.NEW
    username: str = ""
    email: str | None = None
    roles: tuple[str, ...] = ()
    github_username: str | None = None
    gitlab_username: str | None = None
    epoch: int = 0
    anchor: int = 0
    tokens: tuple[int, ...] = ()
    keys: key.Keys = field(default_factory=dict)

    @property
    def administers(self) -> bool:
        return self.status is Status.ENABLED and "ROLE_ADMIN" in self.roles


def decide(user: User, command: UserCommand) -> list[UserEvent]:
    match user.status, command:
        case Status.NEW, RegisterUser():
            return [registered(command)]
        case ((Status.NEW | Status.DELETED), _):
            raise Refused("DEVELOPER_NOT_FOUND")
        case _, RenameUser(username=text):
            username = valid_username(text)
            renamed = UserRenamed(user_id=command.user_id, username=username, former_username=user.username)
            return [renamed] if username != user.username else []
        case _, ChangeEmail(email=text):
            email = valid_email(text)
            return [UserEmailChanged(user_id=command.user_id, email=email)] if email != user.email else []
        case _, ChangePassword(sealed_password_hash=sealed):
            return [
                UserPasswordChanged(user_id=command.user_id, sealed_password_hash=sealed, epoch=user.epoch + 1),
            ]
        case _, ChangeRoles(roles=texts, anchor=anchor):
            roles = valid_roles(texts)
            if "ROLE_ADMIN" not in roles:
                keep_an_administrator(user, anchor)
            changed = UserRolesChanged(user_id=command.user_id, roles=roles, epoch=user.epoch + 1)
            return [changed] if roles != user.roles else []
        case _, SetUserEnabled(enabled=None):
            raise Refused("DEVELOPER_ENABLED_REQUIRED")
        case Status.DISABLED, SetUserEnabled(enabled=True):
            return [UserEnabled(user_id=command.user_id, epoch=user.epoch + 1)]
        case Status.ENABLED, SetUserEnabled(enabled=False, anchor=anchor):
            keep_an_administrator(user, anchor)
            return [UserDisabled(user_id=command.user_id, epoch=user.epoch + 1)]
        case _, SetUserEnabled():
            return []
        case _, ChangeProviderName():
            names = provider_names(user, command)
            return [names] if evolve(user, names) != user else []
        case Status.ENABLED, AnchorAdministrator(anchor=anchor) if user.administers:
            return [AdministratorAnchored(user_id=command.user_id, anchor=anchor)]
        case _, AddSshKey():
            return [key.added(user.keys, command)]
        case _, RemoveSshKey():
            return [key.removed(user.keys, command)]
        case _, DeleteUser(anchor=anchor):
            keep_an_administrator(user, anchor)
            return [UserDeleted(user_id=command.user_id, username=user.username)]
        case Status.ENABLED, RecordApiToken():
            return [token_created(user, command)]
        case _, RevokeApiToken(token_id=token_id):
            if token_id not in user.tokens:
                raise Refused("TOKEN_NOT_FOUND")
            return [ApiTokenRevoked(user_id=command.user_id, token_id=token_id)]
        case _:
            raise Refused("CONFLICT", f"{command.wire_name} is not possible for this user now")


def evolve(user: User, event: UserEvent) -> User:
    match event:
        case UserRegistered():
            return User(
                Status.ENABLED, event.username, event.email, event.roles, event.github_username, event.gitlab_username
            )
        case UserRenamed(username=username):
            return replace(user, username=username)
        case UserEmailChanged(email=email):
            return replace(user, email=email)
        case UserPasswordChanged(epoch=epoch):
            return replace(user, epoch=epoch, tokens=())
        case UserRolesChanged(roles=roles, epoch=epoch):
            return replace(user, roles=roles, epoch=epoch, tokens=())
        case UserEnabled(epoch=epoch):
            return replace(user, status=Status.ENABLED, epoch=epoch, tokens=())
        case UserDisabled(epoch=epoch):
            return replace(user, status=Status.DISABLED, epoch=epoch, tokens=())
        case UserProviderNamesChanged(github_username=github, gitlab_username=gitlab):
            return replace(user, github_username=github, gitlab_username=gitlab)
        case AdministratorAnchored(anchor=anchor):
            return replace(user, anchor=anchor)
        case SshKeyAdded(key_uuid=uuid, fingerprint=fingerprint):
            return replace(user, keys={**user.keys, uuid: fingerprint})
        case SshKeyRemoved(key_uuid=uuid):
            return replace(user, keys={known: one for known, one in user.keys.items() if known != uuid})
        case UserDeleted():
            return User(Status.DELETED)
        case ApiTokenCreated(token_id=token_id):
            return replace(user, tokens=(*user.tokens, token_id))
        case ApiTokenRevoked(token_id=token_id):
            return replace(user, tokens=tuple(one for one in user.tokens if one != token_id))
        case _:
            assert_never(event)


def claims(user: User, event: UserEvent) -> Sequence[Claim]:
    match event:
        case UserRegistered():
            return [_username(event.username), *_emails(event.email)]
        case UserRenamed() if event.username.lower() != user.username.lower():
            return [Release(_username(user.username).key), _username(event.username)]
        case UserEmailChanged() if (event.email or "").lower() != (user.email or "").lower():
            return [*(Release(old.key) for old in _emails(user.email)), *_emails(event.email)]
        case AdministratorAnchored(anchor=anchor):
            return [Take(f"anchor:{anchor}", "CONFLICT")]
        case SshKeyAdded(fingerprint=fingerprint):
            return [key.claim(fingerprint)]
        case SshKeyRemoved(key_uuid=uuid):
            return [Release(key.claim(user.keys[uuid]).key)]
        case UserDeleted():
            held = (_username(user.username), *_emails(user.email), *map(key.claim, user.keys.values()))
            return [Release(one.key) for one in held]
        case _:
            return []


def _username(username: str) -> Take:
    """Users share one space of names with whatever else may own a project."""
    return Take(f"owner:{username.lower()}", "DEVELOPER_USERNAME_TAKEN")


def _emails(email: str | None) -> list[Take]:
    return [Take(f"email:{email.lower()}", "DEVELOPER_EMAIL_TAKEN")] if email else []


def keep_an_administrator(user: User, anchor: int) -> None:
    """`anchor` is one that another administrator holds.

    The holder of the highest anchor is an enabled administrator and stays one, for its own anchor is never exceeded by
    itself; so two administrators who remove each other at the same moment cannot both succeed.
    """
    if user.administers and anchor <= user.anchor:
        raise Refused("DEVELOPER_LAST_ADMINISTRATOR")


def registered(command: RegisterUser) -> UserRegistered:
    return UserRegistered(
        user_id=command.user_id,
        user_uuid=command.user_uuid,
        username=valid_username(command.username),
        sealed_password_hash=command.sealed_password_hash,
        email=valid_email(command.email),
        roles=valid_roles(command.roles),
        github_username=optional(command.github_username),
        gitlab_username=optional(command.gitlab_username),
    )


def provider_names(user: User, command: ChangeProviderName) -> UserProviderNamesChanged:
    name = optional(command.username)
    return UserProviderNamesChanged(
        user_id=command.user_id,
        github_username=name if command.provider == "github" else user.github_username,
        gitlab_username=name if command.provider == "gitlab" else user.gitlab_username,
    )


def token_created(user: User, command: RecordApiToken) -> ApiTokenCreated:
    name = (command.name or "").strip()
    if not name:
        raise Refused("TOKEN_NAME_REQUIRED")
    if NOT_IN_NAMES & set(name):
        raise Refused("TOKEN_NAME_INVALID")
    if command.expires_at and command.expires_at < command.today:
        raise Refused("TOKEN_EXPIRES_AT_INVALID")
    if len(user.tokens) >= TOKENS:
        raise Refused("TOKEN_LIMIT")
    return ApiTokenCreated(
        user_id=command.user_id,
        token_id=command.token_id,
        token_uuid=command.token_uuid,
        token_hash=command.token_hash,
        name=name,
        expires_at=command.expires_at.isoformat() if command.expires_at else None,
        scopes=tuple(dict.fromkeys(command.scopes)),
    )


user_decider = Decider[UserCommand, User, UserEvent](
    commands=(
        RegisterUser,
        RenameUser,
        ChangeEmail,
        ChangePassword,
        ChangeRoles,
        SetUserEnabled,
        ChangeProviderName,
        AnchorAdministrator,
        AddSshKey,
        RemoveSshKey,
        DeleteUser,
        RecordApiToken,
        RevokeApiToken,
    ),
    stream=lambda command: f"user-{command.user_id}",
    initial=User(),
    decide=decide,
    evolve=evolve,
    claims=claims,
    creates=(RegisterUser,),
)
