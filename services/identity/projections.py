"""Read models of users with their keys and tokens, of companies, and of project memberships."""

from datetime import UTC, datetime

from contracts.identity import (
    ROLES,
    AdministratorAnchored,
    ApiTokenCreated,
    ApiTokenRevoked,
    CompanyCreated,
    CompanyDeleted,
    CompanyEvent,
    CompanyMembersSet,
    CompanyRenamed,
    CompanyTitleChanged,
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
from contracts.messages import Event, Payload, ReadModelRow
from contracts.projects import ProjectCreated, ProjectDeleted, ProjectDevelopersSet
from libs.eventstore.decider import Category, RecordedEvent
from libs.service.declaration import Projection
from services.identity.domain.company import company_decider
from services.identity.domain.user import user_decider


class TokenRow(ReadModelRow):
    id: int
    uuid: str
    token_hash: str
    name: str
    expires_at: str | None  # last valid day: YYYY-MM-DD
    scopes: tuple[str, ...]
    created_at: datetime


class SshKeyRow(ReadModelRow):
    uuid: str
    title: str
    public_key: str
    fingerprint: str
    expires_at: str | None  # last valid day: YYYY-MM-DD
    created_at: datetime


class UserRow(ReadModelRow):
    id: int = 0
    uuid: str = ""
    username: str = ""
    username_key: str = ""  # `username` in lower case
    email: str | None = None
    email_key: str | None = None  # `email` in lower case
    roles: tuple[str, ...] = ()
    role: str | None = None  # the role with the most permissions
    enabled: bool = False
    github_username: str | None = None
    gitlab_username: str | None = None
    github_key: str | None = None  # `github_username` in lower case
    gitlab_key: str | None = None  # `gitlab_username` in lower case
    oidc_issuer: str | None = None  # with `oidc_subject`, the account at an OpenID provider that the user is linked to
    oidc_subject: str | None = None
    epoch: int = 0  # incremented by each change of password, roles or status, and when a link to a provider is removed
    anchor: int = 0  # only replicas of 0.2.0 use it, to choose the administrator that cannot be removed
    sealed_password_hash: str = ""
    tokens: tuple[TokenRow, ...] = ()  # each event that increments `epoch` removes them
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
            anchor = row.anchor if "ROLE_ADMIN" in roles else 0
            return row.replace(**_role_fields(roles), epoch=epoch, tokens=(), anchor=anchor)
        case UserEnabled(epoch=epoch):
            return row.replace(enabled=True, epoch=epoch, tokens=())
        case UserDisabled(epoch=epoch):
            return row.replace(enabled=False, epoch=epoch, tokens=(), anchor=0)
        case UserProviderNamesChanged() as event:
            return row.replace(**_provider_name_fields(event))
        case AdministratorAnchored(anchor=anchor):
            return row.replace(anchor=anchor)
        case SshKeyAdded() as event:
            return row.replace(keys=(*row.keys, _to_key_row(event, recorded.at)))
        case SshKeyRemoved(key_uuid=uuid):
            return row.replace(keys=tuple(key for key in row.keys if key.uuid != uuid))
        case UserIdentityLinked(issuer=issuer, subject=subject):
            return row.replace(oidc_issuer=issuer, oidc_subject=subject)
        case UserIdentityUnlinked(epoch=epoch):
            return row.replace(oidc_issuer=None, oidc_subject=None, epoch=epoch, tokens=())
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
            return row.replace(tokens=tuple(token for token in row.tokens if token.id != token_id))


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
    row_version=5,
    indexes=(
        ("id",),
        ("uuid",),
        ("username", "id"),
        ("email", "id"),
        ("role", "id"),
        ("username_key",),
        ("email_key", "username_key"),
        ("github_key",),
        ("gitlab_key",),
        ("oidc_subject", "oidc_issuer"),
        ("-anchor",),
        ("role", "enabled"),
        ("tokens.token_hash",),
    ),
    is_deleted=lambda row: row.id == 0,
)


class MembershipRow(ReadModelRow):
    project_id: int = 0
    developers_id: tuple[int, ...] = ()


def membership_key(recorded: RecordedEvent[Event]) -> str | None:
    match recorded.event:
        case ProjectCreated() | ProjectDevelopersSet() | ProjectDeleted():
            return f"project-{recorded.event.project_id}"
        case _:
            return None


def apply_membership_event(row: MembershipRow, recorded: RecordedEvent[Event]) -> MembershipRow:
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


class CompanyRow(ReadModelRow):
    id: int = 0
    alias: str = ""
    alias_key: str = ""  # `alias` in lower case
    title: str = ""
    members_id: tuple[int, ...] = ()
    created_at: datetime = datetime.fromtimestamp(0, UTC)


def apply_company_event(row: CompanyRow, recorded: RecordedEvent[CompanyEvent]) -> CompanyRow:
    match recorded.event:
        case CompanyCreated() as event:
            return CompanyRow(
                id=event.company_id,
                alias=event.alias,
                alias_key=event.alias.lower(),
                title=event.title,
                members_id=event.members_id,
                created_at=recorded.at,
            )
        case CompanyTitleChanged(title=title):
            return row.replace(title=title)
        case CompanyRenamed(alias=alias):
            return row.replace(alias=alias, alias_key=alias.lower())
        case CompanyMembersSet(members_id=ids):
            return row.replace(members_id=ids)
        case CompanyDeleted():
            return CompanyRow()


company_category = Category(
    "company",
    company_decider,
    CompanyRow(),
    apply_company_event,
    indexes=(("id",), ("alias_key",), ("members_id",)),
    is_deleted=lambda row: row.id == 0,
)
