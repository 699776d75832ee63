"""What people read about users, and which projects they belong to."""

from datetime import UTC, date, datetime
from typing import Any

from contracts.identity import (
    ROLES,
    Access,
    AdministratorAnchored,
    ApiTokenCreated,
    ApiTokenRevoked,
    SshKeyAdded,
    SshKeyRemoved,
    SshKeyView,
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
    UserSummary,
    UserView,
)
from contracts.messages import Payload, ReadModelRow
from contracts.projects import ProjectCreated, ProjectDeleted, ProjectDevelopersSet
from libs.eventstore.decider import Category, RecordedEvent
from libs.projections.paging import Column, parse_number
from libs.service.declaration import Projection
from services.identity.domain.user import user_decider


class TokenRow(ReadModelRow):
    id: int
    uuid: str
    token_hash: str
    name: str
    expires_at: str | None  # YYYY-MM-DD
    scopes: tuple[str, ...]
    created_at: datetime


class SshKeyRow(ReadModelRow):
    uuid: str
    title: str
    public_key: str
    fingerprint: str
    expires_at: str | None
    created_at: datetime


class UserRow(ReadModelRow):
    id: int = 0
    uuid: str = ""
    username: str = ""
    username_key: str = ""  # lower case
    email: str | None = None
    email_key: str | None = None  # lower case
    roles: tuple[str, ...] = ()
    role: str | None = None  # the strongest
    enabled: bool = False
    github_username: str | None = None
    gitlab_username: str | None = None
    github_key: str | None = None  # lower case
    gitlab_key: str | None = None  # lower case
    epoch: int = 0
    anchor: int = 0
    sealed_password_hash: str = ""
    tokens: tuple[TokenRow, ...] = ()  # those that no change of access has ended
    keys: tuple[SshKeyRow, ...] = ()  # oldest first
    created_at: datetime = datetime.fromtimestamp(0, UTC)


def apply_user_event(row: UserRow, recorded: RecordedEvent[UserEvent]) -> UserRow:
    match recorded.event:
        case UserRegistered() as event:
            return UserRow(
                id=event.user_id,
                uuid=event.user_uuid,
                username=event.username,
                username_key=event.username.lower(),
                **_email_fields(event.email),
                **_role_fields(event.roles),
                enabled=True,
                **_provider_name_fields(event),
                sealed_password_hash=event.sealed_password_hash,
                created_at=recorded.at,
            )
        case UserRenamed(username=username):
            return row.replace(username=username, username_key=username.lower())
        case UserEmailChanged(email=email):
            return row.replace(**_email_fields(email))
        case UserPasswordChanged(sealed_password_hash=sealed, epoch=epoch):
            return row.replace(sealed_password_hash=sealed, epoch=epoch, tokens=())
        case UserRolesChanged(roles=roles, epoch=epoch):
            return row.replace(**_role_fields(roles), epoch=epoch, tokens=())
        case UserEnabled(epoch=epoch):
            return row.replace(enabled=True, epoch=epoch, tokens=())
        case UserDisabled(epoch=epoch):
            return row.replace(enabled=False, epoch=epoch, tokens=())
        case UserProviderNamesChanged() as event:
            return row.replace(**_provider_name_fields(event))
        case AdministratorAnchored(anchor=anchor):
            return row.replace(anchor=anchor)
        case SshKeyAdded() as event:
            return row.replace(keys=(*row.keys, _to_key_row(event, recorded.at)))
        case SshKeyRemoved(key_uuid=uuid):
            return row.replace(keys=tuple(one for one in row.keys if one.uuid != uuid))
        case UserDeleted():
            return UserRow()
        case ApiTokenCreated() as event:
            token = TokenRow(
                id=event.token_id,
                uuid=event.token_uuid,
                token_hash=event.token_hash,
                name=event.name,
                expires_at=event.expires_at,
                scopes=event.scopes,
                created_at=recorded.at,
            )
            return row.replace(tokens=(*row.tokens, token))
        case ApiTokenRevoked(token_id=token_id):
            return row.replace(tokens=tuple(one for one in row.tokens if one.id != token_id))


def _to_key_row(event: SshKeyAdded, at: datetime) -> SshKeyRow:
    return SshKeyRow(
        uuid=event.key_uuid,
        title=event.title,
        public_key=event.public_key,
        fingerprint=event.fingerprint,
        expires_at=event.expires_at,
        created_at=at,
    )


def _email_fields(email: str | None) -> Payload:
    return {"email": email or None, "email_key": email.lower() if email else None}


def _provider_name_fields(event: UserRegistered | UserProviderNamesChanged) -> Payload:
    github, gitlab = event.github_username, event.gitlab_username
    return {
        "github_username": github,
        "gitlab_username": gitlab,
        "github_key": github.lower() if github else None,
        "gitlab_key": gitlab.lower() if gitlab else None,
    }


def _role_fields(roles: tuple[str, ...]) -> Payload:
    return {"roles": roles, "role": next((role for role in ROLES if role in roles), None)}


user_category = Category(
    "user",
    user_decider,
    UserRow(),
    apply_user_event,
    row_version=4,
    indexes=(
        ("id",),
        ("uuid",),
        ("username_key",),
        ("email_key",),
        ("github_key",),
        ("gitlab_key",),
        ("-anchor",),
        ("tokens.token_hash",),
    ),
    is_deleted=lambda row: row.id == 0,
)


class MembershipRow(ReadModelRow):
    """The developers of one project."""

    project_id: int = 0
    developers_id: tuple[int, ...] = ()


def membership_key(recorded: RecordedEvent[Any]) -> str | None:
    match recorded.event:
        case ProjectCreated() | ProjectDevelopersSet() | ProjectDeleted():
            return f"project-{recorded.event.project_id}"
        case _:
            return None


def apply_membership_event(row: MembershipRow, recorded: RecordedEvent[Any]) -> MembershipRow:
    match recorded.event:
        case (
            ProjectCreated(project_id=id_, developers_id=ids) | ProjectDevelopersSet(project_id=id_, developers_id=ids)
        ):
            return MembershipRow(project_id=id_, developers_id=ids)
        case ProjectDeleted():
            return MembershipRow()
        case _:
            return row


membership_projection = Projection(
    "memberships", "projects", membership_key, MembershipRow(), apply_membership_event, indexes=(("developers_id",),)
)


USER_COLUMNS = {
    "id": Column("id", parse_number),
    "developer_id": Column("id", parse_number),
    "user_username": Column("username"),
    "developer_email": Column("email"),
    "user_role": Column("role"),
}


def to_summary(row: UserRow) -> Payload:
    return {
        "developer_id": row.id,
        "user_username": row.username,
        "developer_email": row.email,
        "user_role": row.role,
    }


def to_search_result(row: UserRow) -> Payload:
    return UserSummary(uuid=row.uuid, username=row.username, email=row.email).model_dump()


def to_ssh_key_view(row: UserRow, key: SshKeyRow) -> SshKeyView:
    return SshKeyView(
        uuid=key.uuid,
        user_uuid=row.uuid,
        public_key=key.public_key,
        title=key.title,
        fingerprint=key.fingerprint,
        expires_at=date.fromisoformat(key.expires_at) if key.expires_at else None,
        created_at=key.created_at,
    )


def to_access(row: UserRow) -> Access:
    return Access(
        user_id=row.id,
        user_uuid=row.uuid,
        username=row.username,
        enabled=row.enabled,
        roles=row.roles,
        epoch=row.epoch,
    )


def to_user_view(row: UserRow, projects_id: tuple[int, ...]) -> UserView:
    return UserView(
        id=row.id,
        uuid=row.uuid,
        username=row.username,
        email=row.email,
        roles=row.roles,
        enabled=row.enabled,
        github_username=row.github_username,
        gitlab_username=row.gitlab_username,
        projects_id=projects_id,
        created_at=row.created_at,
    )
