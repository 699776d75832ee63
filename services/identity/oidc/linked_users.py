"""Users of accounts at the OpenID provider: look-up by link, creation, and roles according to groups."""

import logging
import secrets
from uuid import uuid4

from contracts.errors import RequestRejected
from contracts.identity import ChangeRoles
from libs.security.passwords import hash_password_async
from libs.service.declaration import Context
from services.identity.domain.internal_commands import AddUser, Identity, SetIdentity
from services.identity.oidc.accounts import (
    ADMIN,
    Claims,
    is_admitted,
    read_groups,
    read_username,
    read_verified_email,
    roles_of,
)
from services.identity.projections import UserRow

log = logging.getLogger("headrace.identity")


async def sign_in_account(ctx: Context, identity: Identity, claims: Claims) -> UserRow:
    """Return the account's user, and create the user of an unknown account if the settings allow it.

    Roles for which a group is configured follow the account's groups, also if this raises RequestRejected because the
    account may not sign in.
    """
    settings = ctx.settings.oidc
    groups = read_groups(claims, settings)
    row = await find_linked_user(ctx, identity)
    if row is None:
        if not settings.create_users:
            raise RequestRejected("OIDC_USER_UNKNOWN")
        if not is_admitted(groups, settings):
            raise RequestRejected("OIDC_GROUP_REQUIRED")
        row = await create_user(ctx, identity, claims, roles_of(groups, settings, None))
    if not row.enabled:
        raise RequestRejected("OIDC_USER_DISABLED")
    row = await update_roles(ctx, row, identity, roles_of(groups, settings, row.roles))
    # checked after the update, so that an account that has left its groups also loses the roles
    if not is_admitted(groups, settings):
        raise RequestRejected("OIDC_GROUP_REQUIRED")
    return row


async def find_linked_user(ctx: Context, identity: Identity) -> UserRow | None:
    return await ctx.read_model(UserRow).find_one({"oidc_subject": identity.subject, "oidc_issuer": identity.issuer})


async def create_user(ctx: Context, identity: Identity, claims: Claims, roles: tuple[str, ...]) -> UserRow:
    """Register a user who is linked to the account and has no usable password."""
    user_id = await ctx.next_id("user")
    unknown_password = await hash_password_async(secrets.token_urlsafe(32))
    command = AddUser(
        user_id=user_id,
        user_uuid=str(uuid4()),
        username=read_username(claims, ctx.settings.oidc),
        sealed_password_hash=await ctx.vault.encrypt(f"user-{user_id}", unknown_password),
        email=read_verified_email(claims),
        roles=roles,
        identity=identity,
    )
    try:
        await _register(ctx, command)
    except RequestRejected as rejected:
        # two sign-ins of the account at the same time: the other one has created the user
        if found := await find_linked_user(ctx, identity):
            return found
        if rejected.code == "DEVELOPER_USERNAME_TAKEN":
            raise RequestRejected("OIDC_USERNAME_TAKEN") from None
        raise
    return await _require_user(ctx, identity)


async def _register(ctx: Context, command: AddUser) -> None:
    """Register the user, without the e-mail address if another user has it."""
    try:
        await ctx.send(command, step="register")
    except RequestRejected as rejected:
        if rejected.code != "DEVELOPER_EMAIL_TAKEN":
            raise
        await ctx.send(command.replace(email=None), step="register without address")


async def update_roles(ctx: Context, row: UserRow, identity: Identity, roles: tuple[str, ...]) -> UserRow:
    """Give the user these roles and return the row. The last administrator stays administrator."""
    if roles == row.roles:
        return row
    try:
        await ctx.send(ChangeRoles(user_id=row.id, roles=roles), step="roles")
    except RequestRejected as rejected:
        if rejected.code != "DEVELOPER_LAST_ADMINISTRATOR":
            raise
        log.warning("user %d left the group of administrators, but is the last one and stays administrator", row.id)
        await ctx.send(ChangeRoles(user_id=row.id, roles=(ADMIN, *roles)), step="roles of the last administrator")
    return await _require_user(ctx, identity)


async def link_account(ctx: Context, user_id: int, epoch: int | None, identity: Identity) -> None:
    """Link the account to the user who began the sign-in. It replaces an earlier link of the user.

    Raises RequestRejected with OIDC_STATE_INVALID if the user was deleted or disabled or the epoch has changed since
    then, and with DEVELOPER_IDENTITY_TAKEN if another user is linked to the account.
    """
    row = await ctx.read_model(UserRow).get(f"user-{user_id}")
    if row is None or not row.enabled or row.epoch != epoch:
        raise RequestRejected("OIDC_STATE_INVALID")
    await ctx.send(SetIdentity(user_id=user_id, identity=identity), step="link")


async def _require_user(ctx: Context, identity: Identity) -> UserRow:
    row = await find_linked_user(ctx, identity)
    if row is None:  # unlinked or deleted concurrently
        raise RequestRejected("OIDC_USER_UNKNOWN")
    return row
