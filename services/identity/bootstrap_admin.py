"""Registration of the first administrator when the service starts with no users."""

import secrets
import sys
from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from contracts.errors import RequestRejected
from contracts.identity import ROLES, RegisterUser
from libs.service.declaration import Context
from libs.settings import SettingsError
from services.identity.projections import UserRow

ENCRYPTION_SUBJECT = "first-administrator"
PASSWORDS_COLLECTION = "drawn_passwords"


async def ensure_first_administrator(ctx: Context) -> None:
    """Register the first administrator if there is no user. Safe to call on several replicas concurrently.

    Raises SettingsError if the configured name or password is invalid.
    """
    if not await ctx.read_model(UserRow).count({}):
        if ctx.settings.admin_password:
            await _register(ctx, ctx.settings.admin_password)
        else:
            await _generate_password(ctx)
    await _apply_generated_password(ctx)


async def _generate_password(ctx: Context) -> None:
    """Store an encrypted generated password, so that a crash before it is printed does not lose it."""
    sealed = await ctx.vault.encrypt(ENCRYPTION_SUBJECT, secrets.token_urlsafe(12))
    with suppress(DuplicateKeyError):  # another replica generated a password first
        await ctx.collection(PASSWORDS_COLLECTION).insert_one({"_id": ENCRYPTION_SUBJECT, "sealed": sealed})


async def _apply_generated_password(ctx: Context) -> None:
    """Register the administrator with the generated password and print the password to standard output.

    Replicas that start at the same time may print the password more than once. The stored document remains, without
    the password, so that a slow replica does not generate another password.
    """
    stored = await ctx.collection(PASSWORDS_COLLECTION).find_one({"_id": ENCRYPTION_SUBJECT})
    if stored is None or "sealed" not in stored:
        return
    password = await ctx.vault.decrypt(ENCRYPTION_SUBJECT, stored["sealed"])
    await _register(ctx, password)
    sys.stdout.write(f"First administrator: {ctx.settings.admin_username}, password: {password}\n")
    sys.stdout.flush()
    await ctx.collection(PASSWORDS_COLLECTION).update_one({"_id": ENCRYPTION_SUBJECT}, {"$unset": {"sealed": ""}})


async def _register(ctx: Context, password: str) -> None:
    administrator = RegisterUser(username=ctx.settings.admin_username, password=password, roles=ROLES)
    try:
        await ctx.send(administrator, step="first")
    except RequestRejected as rejected:
        if rejected.code == "DEVELOPER_USERNAME_TAKEN":
            return  # another replica registered the user first
        if rejected.code.startswith("DEVELOPER_"):
            detail = rejected.failure.detail
            raise SettingsError(
                f"HEADRACE_ADMIN_USERNAME or HEADRACE_ADMIN_PASSWORD is invalid: {detail}"
            ) from rejected
        raise
