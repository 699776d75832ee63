"""Conversion of read-model rows to the views that queries return."""

from datetime import date

from contracts.identity import Access, CompanyView, SshKeyView, UserSummary, UserView
from contracts.messages import Payload
from libs.projections.filters import Column, parse_number
from services.identity.projections import CompanyRow, SshKeyRow, UserRow


def to_company_view(row: CompanyRow) -> CompanyView:
    return CompanyView(
        id=row.id, alias=row.alias, title=row.title, members_id=row.members_id, created_at=row.created_at
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
