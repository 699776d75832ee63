"""SSH keys of users: what adding one needs, and the answers about them."""

from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import AddSshKey, GetSshKey, ListSshKeys, RemoveSshKey, SshKeyView
from contracts.messages import Page
from libs.projections.paging import skip_and_limit
from libs.service.declaration import Context
from services.identity.projections import to_ssh_key_view
from services.identity.queries import require_user


async def prepare_key_addition(ctx: Context, command: AddSshKey) -> AddSshKey:
    return command.replace(key_uuid=str(uuid4()), today=ctx.metadata.at.date())


async def prepare_key_removal(_ctx: Context, command: RemoveSshKey) -> RemoveSshKey:
    return command.replace(key_uuid=command.key_uuid.lower())


async def get_ssh_key(ctx: Context, query: GetSshKey) -> SshKeyView:
    row = await require_user(ctx, query.user_id)
    wanted = (
        row.keys[-1:] if query.key_uuid is None else [one for one in row.keys if one.uuid == query.key_uuid.lower()]
    )
    if not wanted:
        raise RequestRejected("KEY_NOT_FOUND")
    return to_ssh_key_view(row, wanted[0])


async def page_ssh_keys(ctx: Context, query: ListSshKeys) -> Page:
    row = await require_user(ctx, query.user_id)
    skip, limit = skip_and_limit(query)
    shown = (to_ssh_key_view(row, one).model_dump(mode="json") for one in row.keys[skip : skip + limit])
    return Page(rows=tuple(shown), total=len(row.keys))
