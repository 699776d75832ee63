"""Command preparation and queries for credentials. Revealing a key to a user is recorded."""

from contracts.errors import RequestRejected
from contracts.messages import Page
from contracts.projects import (
    ChangeCredentialKey,
    CreateCredential,
    CredentialView,
    DeleteCredential,
    GetCredential,
    ListCredentials,
    RevealCredential,
)
from libs.eventstore.repository import CommandResult
from libs.projections.paging import fetch_page
from libs.service.declaration import Context
from services.projects.domain.credential import validate_name
from services.projects.domain.internal_commands import AddCredential, SetCredentialKey
from services.projects.domain.validation import require_secret_text
from services.projects.projections import CredentialRow, ProjectRow
from services.projects.views import to_credential_view


async def prepare_credential(ctx: Context, command: CreateCredential) -> AddCredential:
    name = validate_name(command.name)
    key = require_secret_text(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    credential_id = await ctx.next_id("credential")
    sealed_ssh_key = await ctx.vault.encrypt(f"credential-{credential_id}", key)
    return AddCredential(credential_id=credential_id, name=name, sealed_ssh_key=sealed_ssh_key)


async def prepare_key_change(ctx: Context, command: ChangeCredentialKey) -> SetCredentialKey:
    row = await require_credential(ctx, command.credential_id)
    key = require_secret_text(command.ssh_key, "CREDENTIAL_SSH_KEY_REQUIRED")
    sealed_ssh_key = await ctx.vault.encrypt(f"credential-{row.id}", key)
    return SetCredentialKey(credential_id=row.id, sealed_ssh_key=sealed_ssh_key)


async def prepare_credential_deletion(ctx: Context, command: DeleteCredential) -> DeleteCredential:
    """Return the command. Raises RequestRejected if a project uses the credential.

    A project that selects the credential at the same time keeps the reference. Its jobs then run without a key.
    """
    if await ctx.read_model(ProjectRow).count({"credential_id": command.credential_id}):
        raise RequestRejected("CREDENTIAL_IN_USE")
    return command


async def get_credential(ctx: Context, query: GetCredential) -> CredentialView:
    return to_credential_view(await require_credential(ctx, query.credential_id))


async def list_credentials(ctx: Context, query: ListCredentials) -> Page:
    return await fetch_page(ctx.read_model(CredentialRow), query, to_credential_view)


async def show_revealed_credential(
    ctx: Context, _command: RevealCredential, result: CommandResult[CredentialRow]
) -> CredentialView:
    """Return the credential with its key in plaintext, after the access was recorded."""
    return to_credential_view(result.row, await ctx.vault.decrypt(result.stream, result.row.sealed_ssh_key))


async def require_credential(ctx: Context, credential_id: int) -> CredentialRow:
    """Return the credential. Raises RequestRejected with CREDENTIAL_NOT_FOUND."""
    row = await ctx.read_model(CredentialRow).get(f"credential-{credential_id}")
    if row is None:
        raise RequestRejected("CREDENTIAL_NOT_FOUND")
    return row
