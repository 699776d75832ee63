"""Command preparation and queries for secrets, and the secrets of jobs and forges. Revealing a value is recorded."""

import asyncio
from collections.abc import Collection

from contracts.errors import RequestRejected
from contracts.messages import Page, Payload
from contracts.projects import (
    ChangeSecretValue,
    CreateSecret,
    Forge,
    GetForge,
    GetJobSecrets,
    GetSecret,
    JobSecrets,
    ListSecrets,
    ListSecretsPage,
    RevealSecret,
    SecretValue,
    SecretView,
    SetSecretProjects,
)
from libs.eventstore.repository import CommandResult
from libs.projections.filters import Column, Condition, parse_number
from libs.projections.paging import fetch_filtered_page, fetch_page
from libs.security.envelopes import InvalidEnvelope, encrypt_for
from libs.service.declaration import Context
from services.projects.domain.internal_commands import AddSecret, SetSecretValue
from services.projects.domain.secret import validate_variable_name
from services.projects.domain.validation import require_secret_text
from services.projects.permissions.access import list_hidden_ids
from services.projects.projections import CredentialRow, ProjectRow, SecretRow
from services.projects.queries import require_all, require_project
from services.projects.views import to_secret_view

SECRET_COLUMNS = {
    "id": Column("id", parse_number),
    "secret_id": Column("id", parse_number),
    "secret_name": Column("name"),
    "secret_env": Column("env"),
    "secret_scope": Column("scope"),
}


async def prepare_secret(ctx: Context, command: CreateSecret) -> AddSecret:
    name = validate_variable_name(command.name)  # clients expect errors of single fields first
    value = require_secret_text(command.value, "SECRET_VALUE_REQUIRED")
    await require_all(ctx, ProjectRow, "project", command.projects_id)
    secret_id = await ctx.next_id("secret")
    sealed_value = await ctx.vault.encrypt(f"secret-{secret_id}", value)
    return AddSecret(
        secret_id=secret_id,
        name=name,
        sealed_value=sealed_value,
        env=command.env,
        escape_char=command.escape_char,
        projects_id=command.projects_id,
    )


async def prepare_value_change(ctx: Context, command: ChangeSecretValue) -> SetSecretValue:
    # encrypting for a deleted secret would create a key that is never deleted
    await require_secret(ctx, command.secret_id)
    value = require_secret_text(command.value, "SECRET_VALUE_REQUIRED")
    sealed_value = await ctx.vault.encrypt(f"secret-{command.secret_id}", value)
    return SetSecretValue(secret_id=command.secret_id, sealed_value=sealed_value)


async def prepare_project_selection(ctx: Context, command: SetSecretProjects) -> SetSecretProjects:
    await require_secret(ctx, command.secret_id)
    await require_all(ctx, ProjectRow, "project", command.projects_id)
    return command


async def get_secret(ctx: Context, query: GetSecret) -> SecretView:
    hidden = await list_hidden_ids(ctx)
    return to_secret_view(without_projects(await require_secret(ctx, query.secret_id), hidden))


async def list_secrets(ctx: Context, query: ListSecrets) -> Page:
    hidden = await list_hidden_ids(ctx)

    def to_view(row: SecretRow) -> SecretView:
        return to_secret_view(without_projects(row, hidden))

    return await fetch_page(ctx.read_model(SecretRow), query, to_view, condition=match_visible(hidden))


async def list_secrets_page(ctx: Context, query: ListSecretsPage) -> Page:
    condition = match_visible(await list_hidden_ids(ctx))
    return await fetch_filtered_page(ctx.read_model(SecretRow), query, SECRET_COLUMNS, to_summary, condition)


def match_visible(hidden: Collection[int]) -> Condition:
    """Return the condition for secrets without projects, or with a project that is not hidden from the actor."""
    if not hidden:
        return {}
    return {"$or": [{"projects_id": []}, {"projects_id": {"$elemMatch": {"$nin": sorted(hidden)}}}]}


def without_projects(row: SecretRow, hidden: Collection[int]) -> SecretRow:
    """Return the secret without the projects that are hidden from the actor."""
    return row.replace(projects_id=tuple(id_ for id_ in row.projects_id if id_ not in hidden)) if hidden else row


def to_summary(row: SecretRow) -> Payload:
    return {
        "secret_id": row.id,
        "secret_name": row.name,
        "secret_env": row.env,
        "secret_scope": row.scope,
    }


async def show_revealed_secret(ctx: Context, _command: RevealSecret, result: CommandResult[SecretRow]) -> SecretView:
    """Return the secret with its value in plaintext, after the access was recorded."""
    return to_secret_view(result.row, await ctx.vault.decrypt(result.stream, result.row.sealed_value))


async def get_job_secrets(ctx: Context, query: GetJobSecrets) -> JobSecrets:
    """Return what a job of the project gets in plaintext: secrets, the SSH key and the repository login.

    Raises RequestRejected with PROJECT_NOT_FOUND.
    """
    project, rows = await asyncio.gather(
        require_project(ctx, query.project_id),
        ctx.read_model(SecretRow).find({"$or": [{"projects_id": query.project_id}, {"scope": "PUBLIC"}]}, [("id", 1)]),
    )
    rows.sort(key=lambda row: row.scope == "PRIVATE")  # a project's own secret overrides a global one of the same name
    by_name = {row.name: row for row in rows}
    values = await ctx.vault.decrypt_many({f"secret-{row.id}": row.sealed_value for row in by_name.values()})
    return JobSecrets(
        secrets=tuple(
            SecretValue(name=name, value=values[f"secret-{row.id}"])
            for name, row in by_name.items()
            if f"secret-{row.id}" in values
        ),
        ssh_key=await decrypt_ssh_key(ctx, project.credential_id),
        repository_login=await decrypt_repository_login(ctx, project, query.repository),
        owner_alias=project.owner_alias,
    )


async def decrypt_ssh_key(ctx: Context, credential_id: int | None) -> str | None:
    """Return the private key of the credential, or None if there is no credential."""
    if credential_id is None:
        return None
    row = await ctx.read_model(CredentialRow).get(f"credential-{credential_id}")
    return await ctx.vault.decrypt(f"credential-{row.id}", row.sealed_ssh_key) if row else None


async def decrypt_repository_login(ctx: Context, project: ProjectRow, repository: str | None) -> str | None:
    """Return the login for the repository; None without a login, or if the project has another URL by now.

    A build launched before the URL was changed must not send the login to another host.
    """
    if not project.sealed_login or repository != project.repository:
        return None
    return await ctx.vault.decrypt(f"project-{project.id}", project.sealed_login)


async def get_forge(ctx: Context, query: GetForge) -> Forge:
    """Return the forge of a project. If the query has a public key, include the token, encrypted for this key."""
    project = await require_project(ctx, query.project_id)
    return Forge(
        kind=project.forge_kind,
        api_url=project.forge_api_url,
        repository=project.repository,
        alias=project.alias,
        encrypted=await encrypt_forge_token(ctx, project, query.public_key) if query.public_key else "",
    )


async def encrypt_forge_token(ctx: Context, project: ProjectRow, public_key: str) -> str:
    """Return the token, encrypted for the requesting service, or an empty text without a token.

    Only secrets of the project itself are used: a global secret could be meant for another server.
    """
    rows = await ctx.read_model(SecretRow).find(
        {"name": project.forge_secret, "projects_id": project.id}, [("id", -1)], limit=1
    )
    if not rows:
        return ""
    token = await ctx.vault.decrypt(f"secret-{rows[0].id}", rows[0].sealed_value)
    try:
        return encrypt_for(token, public_key, f"forge-{project.id}")
    except InvalidEnvelope:
        raise RequestRejected("REQUEST_INVALID", "The public key is not an X25519 key.") from None


async def require_secret(ctx: Context, secret_id: int) -> SecretRow:
    """Return the secret. Raises RequestRejected with SECRET_NOT_FOUND."""
    row = await ctx.read_model(SecretRow).get(f"secret-{secret_id}")
    if row is None:
        raise RequestRejected("SECRET_NOT_FOUND")
    return row
