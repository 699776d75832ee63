"""A deleted user's key is deleted too, and with it what was sealed for that user; companies lose the member."""

from contracts.identity import RemoveMember, UserDeleted
from libs.deciding import Recorded
from libs.service import Context, Worker


async def erase(ctx: Context, recorded: Recorded[UserDeleted]) -> None:
    await ctx.vault.erase(recorded.stream)


async def leave_companies(ctx: Context, recorded: Recorded[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for company in ctx.rows("company").walk({"members_id": user_id}):
        await ctx.tell(RemoveMember(company_id=company.id, member_id=user_id), step=str(company.id))


eraser = Worker("erase_users", "identity", (UserDeleted,), erase)
leaver = Worker("leave_companies", "identity", (UserDeleted,), leave_companies)
