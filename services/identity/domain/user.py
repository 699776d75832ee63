"""The user aggregate. Usernames and e-mail addresses are unique, and one enabled administrator always remains."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import assert_never

from contracts.identity import (
    AdministratorAnchored,
    ApiTokenCreated,
    ApiTokenRevoked,
    ChangeEmail,
    ChangeProviderName,
    ChangeRoles,
    DeleteUser,
    RemoveSshKey,
    RenameUser,
    RevokeApiToken,
    SetUserEnabled,
    SshKeyAdded,
    SshKeyRemoved,
    UserDeleted,
    UserDisabled,
    UserEmailChanged,
    UserEnabled,
    UserEvent,
    UserIdentityLinked,
    UserIdentityUnlinked,
    UserPasswordChanged,
    UserProviderNamesChanged,
    UserRegistered,
    UserRenamed,
    UserRolesChanged,
)
from libs.eventstore.decider import Decider, Release, RequestRejected, RequireOther, Reservation, Reserve
from libs.normalization import blank_to_none
from services.identity.domain import api_token, ssh_key
from services.identity.domain.identity_link import identity_reservations, release_identity, set_identity
from services.identity.domain.internal_commands import (
    AddApiToken,
    AddKey,
    AddUser,
    Identity,
    SetIdentity,
    SetPasswordHash,
)
from services.identity.domain.validation import validate_email, validate_roles, validate_username

ANOTHER_ADMINISTRATOR = RequireOther(
    "administrators", {"role": "ROLE_ADMIN", "enabled": True}, "DEVELOPER_LAST_ADMINISTRATOR"
)

UserCommand = (
    AddUser
    | RenameUser
    | ChangeEmail
    | SetPasswordHash
    | ChangeRoles
    | SetUserEnabled
    | ChangeProviderName
    | AddKey
    | RemoveSshKey
    | SetIdentity
    | DeleteUser
    | AddApiToken
    | RevokeApiToken
)


class Status(Enum):
    NEW = "new"
    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class User:
    status: Status = Status.NEW
    uuid: str = ""
    username: str = ""
    email: str | None = None
    roles: tuple[str, ...] = ()
    github_username: str | None = None
    gitlab_username: str | None = None
    epoch: int = 0  # incremented by each change of password, roles or status, and when a link to a provider is removed
    tokens: tuple[int, ...] = ()  # ids of API tokens
    keys: ssh_key.FingerprintsByUuid = field(default_factory=dict)
    identity: Identity | None = None

    @property
    def is_administrator(self) -> bool:
        return self.status is Status.ENABLED and "ROLE_ADMIN" in self.roles


def decide(user: User, command: UserCommand) -> list[UserEvent]:
    match user.status, command:
        case Status.NEW, AddUser():
            return [make_user_registered(command), *set_identity(command.user_id, None, command.identity, 0)]
        case ((Status.NEW | Status.DELETED), _):
            raise RequestRejected("DEVELOPER_NOT_FOUND")
        case _, RenameUser(username=text):
            username = validate_username(text)
            renamed = UserRenamed(user_id=command.user_id, username=username, former_username=user.username)
            return [renamed] if username != user.username else []
        case _, ChangeEmail(email=text):
            email = validate_email(text)
            return [UserEmailChanged(user_id=command.user_id, email=email)] if email != user.email else []
        case _, SetPasswordHash(sealed_password_hash=sealed):
            return [
                UserPasswordChanged(user_id=command.user_id, sealed_password_hash=sealed, epoch=user.epoch + 1),
            ]
        case _, ChangeRoles(roles=texts):
            roles = validate_roles(texts)
            changed = UserRolesChanged(user_id=command.user_id, roles=roles, epoch=user.epoch + 1)
            return [changed] if roles != user.roles else []
        case _, SetUserEnabled(enabled=None):
            raise RequestRejected("DEVELOPER_ENABLED_REQUIRED")
        case Status.DISABLED, SetUserEnabled(enabled=True):
            return [UserEnabled(user_id=command.user_id, epoch=user.epoch + 1)]
        case Status.ENABLED, SetUserEnabled(enabled=False):
            return [UserDisabled(user_id=command.user_id, epoch=user.epoch + 1)]
        case _, SetUserEnabled():
            return []
        case _, ChangeProviderName():
            names = make_provider_names_changed(user, command)
            return [names] if evolve(user, names) != user else []
        case _, AddKey():
            return [ssh_key.add_key(user.keys, command)]
        case _, RemoveSshKey():
            return [ssh_key.remove_key(user.keys, command)]
        case _, SetIdentity(identity=identity):
            return [*set_identity(command.user_id, user.identity, identity, user.epoch)]
        case _, DeleteUser():
            return [UserDeleted(user_id=command.user_id, user_uuid=user.uuid)]
        case Status.ENABLED, AddApiToken():
            return [api_token.add_token(user.tokens, command)]
        case _, RevokeApiToken(token_id=token_id):
            if token_id not in user.tokens:
                raise RequestRejected("TOKEN_NOT_FOUND")
            return [ApiTokenRevoked(user_id=command.user_id, token_id=token_id)]
        case _:
            raise RequestRejected("CONFLICT", f"{command.wire_name} is not possible in the current state of the user")


def evolve(user: User, event: UserEvent) -> User:
    match event:
        case UserRegistered():
            return User(
                Status.ENABLED,
                event.user_uuid,
                event.username,
                event.email,
                event.roles,
                event.github_username,
                event.gitlab_username,
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
        case AdministratorAnchored():
            return user
        case SshKeyAdded(key_uuid=uuid, fingerprint=fingerprint):
            return replace(user, keys={**user.keys, uuid: fingerprint})
        case SshKeyRemoved(key_uuid=uuid):
            return replace(user, keys={key: value for key, value in user.keys.items() if key != uuid})
        case UserIdentityLinked(issuer=issuer, subject=subject):
            return replace(user, identity=Identity(issuer, subject))
        case UserIdentityUnlinked(epoch=epoch):
            return replace(user, identity=None, epoch=epoch, tokens=())
        case UserDeleted():
            return User(Status.DELETED)
        case ApiTokenCreated(token_id=token_id):
            return replace(user, tokens=(*user.tokens, token_id))
        case ApiTokenRevoked(token_id=token_id):
            return replace(user, tokens=tuple(token for token in user.tokens if token != token_id))
        case _:
            assert_never(event)


def reserve_names(user: User, event: UserEvent) -> Sequence[Reservation]:
    match event:
        case UserRegistered():
            return [_username_reservation(event.username), *_email_reservations(event.email)]
        case UserRenamed() if event.username.lower() != user.username.lower():
            return [Release(_username_reservation(user.username).key), _username_reservation(event.username)]
        case UserEmailChanged() if (event.email or "").lower() != (user.email or "").lower():
            return [
                *(Release(former.key) for former in _email_reservations(user.email)),
                *_email_reservations(event.email),
            ]
        case SshKeyAdded(fingerprint=fingerprint):
            return [ssh_key.fingerprint_reservation(fingerprint)]
        case SshKeyRemoved(key_uuid=uuid):
            return [Release(ssh_key.fingerprint_reservation(user.keys[uuid]).key)]
        case UserIdentityLinked(issuer=issuer, subject=subject):
            return identity_reservations(Identity(issuer, subject))
        case UserIdentityUnlinked():
            return release_identity(user.identity)
        case UserDisabled():
            return _require_other_administrator(user)
        case UserRolesChanged(roles=roles) if "ROLE_ADMIN" not in roles:
            return _require_other_administrator(user)
        case UserDeleted():
            reserved = (
                _username_reservation(user.username),
                *_email_reservations(user.email),
                *map(ssh_key.fingerprint_reservation, user.keys.values()),
                *identity_reservations(user.identity),
            )
            return [*_require_other_administrator(user), *(Release(reservation.key) for reservation in reserved)]
        case _:
            return []


def _require_other_administrator(user: User) -> list[RequireOther]:
    """Return the requirement of another enabled administrator if the user is an enabled administrator."""
    return [ANOTHER_ADMINISTRATOR] if user.is_administrator else []


def _username_reservation(username: str) -> Reserve:
    """Return the reservation of a username, in the namespace that users and companies share."""
    return Reserve(f"owner:{username.lower()}", "DEVELOPER_USERNAME_TAKEN")


def _email_reservations(email: str | None) -> list[Reserve]:
    return [Reserve(f"email:{email.lower()}", "DEVELOPER_EMAIL_TAKEN")] if email else []


def make_user_registered(command: AddUser) -> UserRegistered:
    return UserRegistered(
        user_id=command.user_id,
        user_uuid=command.user_uuid,
        username=validate_username(command.username),
        sealed_password_hash=command.sealed_password_hash,
        email=validate_email(command.email),
        roles=validate_roles(command.roles),
        github_username=blank_to_none(command.github_username),
        gitlab_username=blank_to_none(command.gitlab_username),
    )


def make_provider_names_changed(user: User, command: ChangeProviderName) -> UserProviderNamesChanged:
    name = blank_to_none(command.username)
    return UserProviderNamesChanged(
        user_id=command.user_id,
        github_username=name if command.provider == "github" else user.github_username,
        gitlab_username=name if command.provider == "gitlab" else user.gitlab_username,
    )


user_decider = Decider[UserCommand, User, UserEvent](
    commands=(
        AddUser,
        RenameUser,
        ChangeEmail,
        SetPasswordHash,
        ChangeRoles,
        SetUserEnabled,
        ChangeProviderName,
        AddKey,
        RemoveSshKey,
        SetIdentity,
        DeleteUser,
        AddApiToken,
        RevokeApiToken,
    ),
    stream=lambda command: f"user-{command.user_id}",
    initial=User(),
    decide=decide,
    evolve=evolve,
    reservations=reserve_names,
    initial_commands=(AddUser,),
)
