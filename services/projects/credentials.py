"""Credentials: sealing their keys, and showing them to nobody who was not recorded."""

from contracts.errors import Refused
from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    Credentials,
    CredentialView,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RecordCredentialLook,
    RevealCredential,
)
from libs.service import Context
from services.projects.domain.credential import valid_name
from services.projects.domain.text import required_secret
from services.projects.views import CredentialRow, credential_view


async def before_creating(ctx: Context, command: CreateCredential) -> CreateCredential:
    valid_name(command.name)
    key = required_secret(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    id_ = await ctx.next_id("credential")
    return command.but(credential_id=id_, ssh_key=None, sealed_ssh_key=await ctx.vault.seal(f"credential-{id_}", key))


async def before_changing_key(ctx: Context, command: ChangeCredentialKey) -> ChangeCredentialKey:
    row = await existing(ctx, command.credential_id)
    key = required_secret(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    return command.but(ssh_key=None, sealed_ssh_key=await ctx.vault.seal(f"credential-{row.id}", key))


async def before_deleting(ctx: Context, command: DeleteCredential) -> DeleteCredential:
    """A project that chooses it at this very moment finds it gone: its jobs then have no key."""
    if await ctx.rows("project").count({"credential_id": command.credential_id}):
        raise Refused("CREDENTIAL_IN_USE")
    return command


async def get(ctx: Context, query: GetCredential) -> CredentialView:
    return credential_view(await existing(ctx, query.credential_id))


async def list_all(ctx: Context, _query: ListCredentials) -> Credentials:
    rows = ctx.rows("credential").each({}, [("id", 1)])
    return Credentials(credentials=tuple([credential_view(row) async for row in rows]))


async def reveal(ctx: Context, command: RevealCredential) -> CredentialView:
    """Recorded first: a look that cannot be recorded does not happen."""
    looked = await ctx.tell(RecordCredentialLook(credential_id=command.credential_id))
    row = CredentialRow.model_validate(looked.row)
    return credential_view(row, await ctx.vault.open(looked.stream, row.sealed_ssh_key))


async def existing(ctx: Context, credential_id: int) -> CredentialRow:
    row: CredentialRow | None = await ctx.rows("credential").get(f"credential-{credential_id}")
    if row is None:
        raise Refused("CREDENTIAL_NOT_FOUND")
    return row
