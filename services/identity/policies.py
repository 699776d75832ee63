"""Deleting a user also deletes the key of what was sealed for that user."""

from contracts.identity import UserDeleted
from libs.deciding import Recorded
from libs.service import Context, Worker


async def erase(ctx: Context, recorded: Recorded[UserDeleted]) -> None:
    await ctx.vault.erase(recorded.stream)


eraser = Worker("erase_users", "identity", (UserDeleted,), erase)
