"""A deleted user's key is deleted too, and with it what was sealed for that user; companies lose the member."""

from contracts.identity import RemoveMember, UserDeleted
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context, Worker


async def shred_user_key(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    await ctx.vault.shred(recorded.stream)


async def remove_from_companies(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for company in ctx.read_model("company").walk({"members_id": user_id}):
        await ctx.send(RemoveMember(company_id=company.id, member_id=user_id), step=str(company.id))


shred_user_key_worker = Worker("erase_users", "identity", (UserDeleted,), shred_user_key)
remove_from_companies_worker = Worker("leave_companies", "identity", (UserDeleted,), remove_from_companies)
