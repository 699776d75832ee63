"""Preparation of the commands of receivers: validation and encryption, and the deletion with a project."""

from contracts.errors import RequestRejected
from contracts.messages import Event
from contracts.notifications import ChangeReceiver, CreateReceiver, DeleteReceiver, ReceiverKind
from contracts.projects import ProjectDeleted
from libs.eventstore.decider import RecordedEvent
from libs.permissions.lookups import fetch_project_access
from libs.service.declaration import Context
from services.notifications.domain.internal_commands import AddReceiver, UpdateReceiver
from services.notifications.domain.receiver import validate_events, validate_secret, validate_url
from services.notifications.receivers.receiver_projection import ReceiverRow
from services.notifications.receivers.receiver_queries import require_receiver

MAX_RECEIVERS = 20  # receivers per project; concurrent requests may exceed the limit


async def prepare_receiver(ctx: Context, command: CreateReceiver) -> AddReceiver:
    """Check the fields and the limit of a new receiver, encrypt its URL and secret, and allocate its id."""
    kind = command.kind or ReceiverKind.WEBHOOK
    url, server = validate_url(command.url)
    secret, events = validate_secret(kind, command.secret), validate_events(command.events)
    await require_project(ctx, command.project_id)
    if await ctx.read_model(ReceiverRow).count({"project_id": command.project_id}) >= MAX_RECEIVERS:
        raise RequestRejected("RECEIVER_LIMIT")
    receiver_id = await ctx.next_id("receiver")
    return AddReceiver(
        project_id=command.project_id,
        receiver_id=receiver_id,
        kind=kind,
        server=server,
        sealed_url=await seal(ctx, receiver_id, url),
        sealed_secret=await seal(ctx, receiver_id, secret),
        events=events,
        active=command.active is not False,
    )


async def prepare_receiver_change(ctx: Context, command: ChangeReceiver) -> UpdateReceiver:
    """Check the changed fields, and encrypt a new URL and secret."""
    # encrypting for a deleted receiver would create a key that is never deleted
    row = await require_receiver(ctx, command.receiver_id, command.project_id)
    sent = command.model_fields_set
    url, server = validate_url(command.url) if "url" in sent else ("", "")
    secret = validate_secret(row.kind, command.secret) if "secret" in sent else ""
    events = validate_events(command.events) if "events" in sent else None
    return UpdateReceiver(
        project_id=row.project_id,
        receiver_id=row.id,
        server=server or None,
        sealed_url=await seal(ctx, row.id, url) or None,
        sealed_secret=await seal(ctx, row.id, secret) or None,
        events=events,
        active=command.active is not False if "active" in sent else None,
    )


async def seal(ctx: Context, receiver_id: int, text: str) -> str:
    return await ctx.vault.encrypt(f"receiver-{receiver_id}", text) if text else ""


async def require_project(ctx: Context, project_id: int) -> None:
    """Raise RequestRejected with PROJECT_NOT_FOUND if there is no such project, or the actor may not see it."""
    if await fetch_project_access(ctx, project_id) is None:
        raise RequestRejected("PROJECT_NOT_FOUND")


async def delete_receivers_of_project(ctx: Context, recorded: RecordedEvent[ProjectDeleted]) -> None:
    async for row in ctx.read_model(ReceiverRow).walk({"project_id": recorded.event.project_id}):
        try:
            await ctx.send(DeleteReceiver(project_id=row.project_id, receiver_id=row.id), step=str(row.id))
        except RequestRejected as rejected:
            if rejected.code != "RECEIVER_NOT_FOUND":
                raise


async def shred_receiver_key(ctx: Context, recorded: RecordedEvent[Event]) -> None:
    """Delete the encryption key of a deleted receiver, which makes its URL and secret unreadable."""
    await ctx.vault.shred(recorded.stream)
