"""Repetition of erasures after a restore: the backup may contain users who were erased after it was taken."""

import logging

from contracts.errors import RequestRejected
from contracts.identity import DeleteUser
from libs.service.declaration import Context
from services.identity.projections import UserRow

log = logging.getLogger("headrace.erasures")

ERASURES_COLLECTION = "erasures"  # written by `headrace admin restore`


async def repeat_erasures(ctx: Context) -> None:
    """Delete the users in the collection of erasures again. A rejected deletion is logged, and the next run retries."""
    async for erasure in ctx.collection(ERASURES_COLLECTION).find():
        if await _erase(ctx, erasure["user_id"], erasure["user_uuid"]):
            await ctx.collection(ERASURES_COLLECTION).delete_one({"_id": erasure["_id"]})


async def _erase(ctx: Context, user_id: int, user_uuid: str) -> bool:
    row = await ctx.read_model(UserRow).get(f"user-{user_id}")
    if row is None or user_uuid not in ("", row.uuid):
        return True  # not in the backup; another user may have received the id after the restore
    try:
        await ctx.send(DeleteUser(user_id=user_id), step=f"erase {user_id}")
    except RequestRejected as rejected:
        if rejected.code == "DEVELOPER_NOT_FOUND":
            return True
        log.error("user %d, who was erased after the restored backup, is not erased: %s", user_id, rejected.code)
        return False
    return True
