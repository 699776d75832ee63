"""Command preparation and queries for the SSH keys of a user."""

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
    """Return the key with the UUID in the query. Without a UUID, return the key that was added last.

    Raises RequestRejected with DEVELOPER_NOT_FOUND or KEY_NOT_FOUND.
    """
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
