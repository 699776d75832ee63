"""The first administrator: made at the first start, with a password from the environment or a drawn one told once."""

import secrets
import sys
from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from contracts.identity import ROLES, RegisterUser
from libs.service.declaration import Context
from libs.settings import SettingsError

ENCRYPTION_SUBJECT = "first-administrator"


async def ensure_first_administrator(ctx: Context) -> None:
    if not await ctx.read_model("user").count({}):
        if ctx.settings.admin_password:
            await _register(ctx, ctx.settings.admin_password)
        else:
            await _generate_password(ctx)
    await _apply_generated_password(ctx)


async def _generate_password(ctx: Context) -> None:
    """Kept sealed until it is told: whoever dies in between must not leave an administrator with a lost password."""
    sealed = await ctx.vault.encrypt(ENCRYPTION_SUBJECT, secrets.token_urlsafe(12))
    with suppress(DuplicateKeyError):  # another replica was faster
        await ctx.collection("drawn_passwords").insert_one({"_id": ENCRYPTION_SUBJECT, "sealed": sealed})


async def _apply_generated_password(ctx: Context) -> None:
    """Told at least once; replicas that start at the same moment may both tell it.

    That it was told stays on record, without the password: a slow replica must not draw and tell another one.
    """
    stored = await ctx.collection("drawn_passwords").find_one({"_id": ENCRYPTION_SUBJECT})
    if stored is None or "sealed" not in stored:
        return
    password = await ctx.vault.decrypt(ENCRYPTION_SUBJECT, stored["sealed"])
    await _register(ctx, password)
    sys.stdout.write(f"First administrator: {ctx.settings.admin_username}, password: {password}\n")
    sys.stdout.flush()
    await ctx.collection("drawn_passwords").update_one({"_id": ENCRYPTION_SUBJECT}, {"$unset": {"sealed": ""}})


async def _register(ctx: Context, password: str) -> None:
    administrator = RegisterUser(username=ctx.settings.admin_username, password=password, roles=ROLES)
    try:
        await ctx.send(administrator, step="first")
    except RequestRejected as refused:
        if refused.code == "DEVELOPER_USERNAME_TAKEN":
            return  # another replica was faster
        if refused.code.startswith("DEVELOPER_"):
            detail = refused.failure.detail
            raise SettingsError(f"HEADRACE_ADMIN_USERNAME or HEADRACE_ADMIN_PASSWORD is refused: {detail}") from refused
        raise
