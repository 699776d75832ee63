"""Queries for the SSH keys of a user."""

from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import AddSshKey, GetSshKey, ListSshKeys, SshKeyView
from contracts.messages import Page
from libs.projections.paging import select_rows
from libs.service.declaration import Context
from services.identity.domain.internal_commands import AddKey
from services.identity.queries import require_user
from services.identity.views import to_ssh_key_view


async def prepare_key_addition(ctx: Context, command: AddSshKey) -> AddKey:
    return AddKey(**dict(command), key_uuid=str(uuid4()), today=ctx.metadata.at.date())


async def get_ssh_key(ctx: Context, query: GetSshKey) -> SshKeyView:
    """Return one key of the user, the newest one if the query names none. Raises KEY_NOT_FOUND."""
    row = await require_user(ctx, query.user_id)
    if query.key_uuid is None:
        found = row.keys[-1:]
    else:
        found = tuple(key for key in row.keys if key.uuid == query.key_uuid.lower())
    if not found:
        raise RequestRejected("KEY_NOT_FOUND")
    return to_ssh_key_view(row, found[0])


async def list_ssh_keys(ctx: Context, query: ListSshKeys) -> Page:
    row = await require_user(ctx, query.user_id)
    page = select_rows(row.keys, query, lambda key: (key.created_at, key.uuid))
    return page.render(to_ssh_key_view(row, key) for key in page.rows)
