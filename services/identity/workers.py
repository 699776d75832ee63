"""Workers that erase the personal data of deleted users and remove them from companies."""

from contracts.identity import UserDeleted
from libs.eventstore.decider import RecordedEvent
from libs.privacy.redaction import empty_stream
from libs.service.declaration import Context, Worker
from services.identity.domain.internal_commands import RemoveMember
from services.identity.projections import CompanyRow


async def shred_user_key(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    """Delete the data key of the user. The encrypted fields of the user's events are unreadable without it."""
    await ctx.vault.shred(recorded.stream)


async def erase_name(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    await empty_stream(ctx.collection("commits"), ctx.collection("streams"), recorded.stream)


async def remove_from_companies(ctx: Context, recorded: RecordedEvent[UserDeleted]) -> None:
    user_id = recorded.event.user_id
    async for company in ctx.read_model(CompanyRow).walk({"members_id": user_id}):
        await ctx.send(RemoveMember(company_id=company.id, member_id=user_id), step=str(company.id))


WORKERS = (
    Worker("erase_users", "identity", (UserDeleted,), shred_user_key),
    # Separate from `erase_users`: releases up to 0.2.0 did not have this worker, so its consumer starts with the first
    # event and also receives the users whom those releases deleted.
    Worker("erase_names", "identity", (UserDeleted,), erase_name),
    Worker("leave_companies", "identity", (UserDeleted,), remove_from_companies),
)
