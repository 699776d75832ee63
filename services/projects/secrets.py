"""Secrets: sealing their values, showing them to nobody who was not recorded, handing them to jobs."""

import asyncio

from contracts.errors import Refused
from contracts.messages import Page
from contracts.projects import (
    ChangeSecretValue,
    ChooseSecretProjects,
    CreateSecret,
    GetJobSecrets,
    GetSecret,
    JobSecrets,
    ListSecrets,
    PageSecrets,
    RecordSecretLook,
    RevealSecret,
    Secrets,
    SecretValue,
    SecretView,
)
from libs.paging import Column, number, page
from libs.service import Context
from services.projects.domain.secret import created
from services.projects.domain.text import required_secret
from services.projects.projects import check, existing
from services.projects.views import ProjectRow, SecretRow, secret_view

COLUMNS = {
    "id": Column("id", number),
    "secret_id": Column("id", number),
    "secret_name": Column("name"),
    "secret_env": Column("env"),
    "secret_scope": Column("scope"),
}


async def before_creating(ctx: Context, command: CreateSecret) -> CreateSecret:
    created(command)  # what is wrong in itself is said first
    value = required_secret(command.value, "SECRET_VALUE_REQUIRED")
    await check(ctx, "project", command.projects_id)
    secret_id = await ctx.next_id("secret")
    return command.but(secret_id=secret_id, value=None, sealed_value=await ctx.vault.seal(f"secret-{secret_id}", value))


async def before_changing_value(ctx: Context, command: ChangeSecretValue) -> ChangeSecretValue:
    await existing_secret(ctx, command.secret_id)  # sealing for a deleted one would make a key that nobody erases
    value = required_secret(command.value, "SECRET_VALUE_REQUIRED")
    return command.but(value=None, sealed_value=await ctx.vault.seal(f"secret-{command.secret_id}", value))


async def before_choosing_projects(ctx: Context, command: ChooseSecretProjects) -> ChooseSecretProjects:
    await existing_secret(ctx, command.secret_id)
    await check(ctx, "project", command.projects_id)
    return command


async def get(ctx: Context, query: GetSecret) -> SecretView:
    return secret_view(await existing_secret(ctx, query.secret_id))


async def list_all(ctx: Context, _query: ListSecrets) -> Secrets:
    return Secrets(secrets=tuple([secret_view(row) async for row in ctx.rows("secret").each({}, [("id", 1)])]))


async def page_all(ctx: Context, query: PageSecrets) -> Page:
    return await page(
        ctx.rows("secret"),
        query,
        COLUMNS,
        lambda row: {
            "secret_id": row.id,
            "secret_name": row.name,
            "secret_env": row.env,
            "secret_scope": row.scope,
        },
    )


async def reveal(ctx: Context, command: RevealSecret) -> SecretView:
    """Recorded first: a look that cannot be recorded does not happen."""
    looked = await ctx.tell(RecordSecretLook(secret_id=command.secret_id))
    row = SecretRow.model_validate(looked.row)
    return secret_view(row, await ctx.vault.open(looked.stream, row.sealed_value))


async def get_job_secrets(ctx: Context, query: GetJobSecrets) -> JobSecrets:
    project, rows = await asyncio.gather(
        existing(ctx, query.project_id),
        ctx.rows("secret").find({"$or": [{"projects_id": query.project_id}, {"scope": "PUBLIC"}]}, [("id", 1)]),
    )
    rows.sort(key=lambda row: row.scope == "PRIVATE")  # later ones hide earlier ones
    by_name = {row.name: row for row in rows}
    values = await ctx.vault.open_all({f"secret-{row.id}": row.sealed_value for row in by_name.values()})
    return JobSecrets(
        secrets=tuple(
            SecretValue(name=name, value=values[f"secret-{row.id}"])
            for name, row in by_name.items()
            if f"secret-{row.id}" in values
        ),
        ssh_key=await ssh_key(ctx, project.credential_id),
        repository_login=await repository_login(ctx, project, query.repository),
    )


async def ssh_key(ctx: Context, credential_id: int | None) -> str | None:
    if credential_id is None:
        return None
    row = await ctx.rows("credential").get(f"credential-{credential_id}")
    return await ctx.vault.open(f"credential-{row.id}", row.sealed_ssh_key) if row else None


async def repository_login(ctx: Context, project: ProjectRow, repository: str | None) -> str | None:
    """Only for the address it came with: a build that was launched before a change must not take it elsewhere."""
    if not project.sealed_login or repository != project.repository:
        return None
    return await ctx.vault.open(f"project-{project.id}", project.sealed_login)


async def existing_secret(ctx: Context, secret_id: int) -> SecretRow:
    row: SecretRow | None = await ctx.rows("secret").get(f"secret-{secret_id}")
    if row is None:
        raise Refused("SECRET_NOT_FOUND")
    return row
