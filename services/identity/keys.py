"""SSH keys of users: what adding one needs, and the answers about them."""

from uuid import uuid4

from contracts.errors import Refused
from contracts.identity import AddSshKey, GetSshKey, PageSshKeys, RemoveSshKey, SshKeyView
from contracts.messages import Page
from libs.paging import bounds
from libs.service import Context
from services.identity.users import existing
from services.identity.views import shown_key


async def before_adding(ctx: Context, command: AddSshKey) -> AddSshKey:
    return command.but(key_uuid=str(uuid4()), today=ctx.cause.at.date())


async def before_removing(_ctx: Context, command: RemoveSshKey) -> RemoveSshKey:
    return command.but(key_uuid=command.key_uuid.lower())


async def get_key(ctx: Context, query: GetSshKey) -> SshKeyView:
    row = await existing(ctx, query.user_id)
    wanted = (
        row.keys[-1:] if query.key_uuid is None else [one for one in row.keys if one.uuid == query.key_uuid.lower()]
    )
    if not wanted:
        raise Refused("KEY_NOT_FOUND")
    return shown_key(row, wanted[0])


async def page_keys(ctx: Context, query: PageSshKeys) -> Page:
    row = await existing(ctx, query.user_id)
    skip, limit = bounds(query)
    shown = (shown_key(row, one).model_dump(mode="json") for one in row.keys[skip : skip + limit])
    return Page(rows=tuple(shown), total=len(row.keys))
