"""Credentials: sealing their keys, and showing them to nobody who was not recorded."""

from contracts.errors import RequestRejected
from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    Credentials,
    CredentialView,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RecordCredentialAccess,
    RevealCredential,
)
from libs.service.declaration import Context
from services.projects.domain.credential import validate_name
from services.projects.domain.validation import require_secret_text
from services.projects.projections import CredentialRow, to_credential_view


async def prepare_credential(ctx: Context, command: CreateCredential) -> CreateCredential:
    validate_name(command.name)
    key = require_secret_text(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    id_ = await ctx.next_id("credential")
    return command.replace(
        credential_id=id_, ssh_key=None, sealed_ssh_key=await ctx.vault.encrypt(f"credential-{id_}", key)
    )


async def prepare_key_change(ctx: Context, command: ChangeCredentialKey) -> ChangeCredentialKey:
    row = await require_credential(ctx, command.credential_id)
    key = require_secret_text(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    return command.replace(ssh_key=None, sealed_ssh_key=await ctx.vault.encrypt(f"credential-{row.id}", key))


async def prepare_credential_deletion(ctx: Context, command: DeleteCredential) -> DeleteCredential:
    """A project that chooses it at this very moment finds it gone: its jobs then have no key."""
    if await ctx.read_model("project").count({"credential_id": command.credential_id}):
        raise RequestRejected("CREDENTIAL_IN_USE")
    return command


async def get_credential(ctx: Context, query: GetCredential) -> CredentialView:
    return to_credential_view(await require_credential(ctx, query.credential_id))


async def list_credentials(ctx: Context, _query: ListCredentials) -> Credentials:
    rows = ctx.read_model("credential").iterate({}, [("id", 1)])
    return Credentials(credentials=tuple([to_credential_view(row) async for row in rows]))


async def reveal_credential(ctx: Context, command: RevealCredential) -> CredentialView:
    """Recorded first: a look that cannot be recorded does not happen."""
    looked = await ctx.send(RecordCredentialAccess(credential_id=command.credential_id))
    row = CredentialRow.model_validate(looked.row)
    return to_credential_view(row, await ctx.vault.decrypt(looked.stream, row.sealed_ssh_key))


async def require_credential(ctx: Context, credential_id: int) -> CredentialRow:
    row: CredentialRow | None = await ctx.read_model("credential").get(f"credential-{credential_id}")
    if row is None:
        raise RequestRejected("CREDENTIAL_NOT_FOUND")
    return row
