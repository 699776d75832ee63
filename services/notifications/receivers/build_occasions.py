"""The worker that requests a notification for each receiver of a build's project that is to be notified."""

from datetime import timedelta
from uuid import UUID, uuid5

from contracts.builds import BuildFinished, BuildStarted, BuildStatus
from contracts.notifications import Occasion
from libs.clock import now
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Context
from services.notifications.domain.internal_commands import AddOutgoingRequest
from services.notifications.outgoing.build_statuses import state_after
from services.notifications.receivers.previous_results import is_fix
from services.notifications.receivers.receiver_projection import ReceiverRow

EVENT_NAMESPACE = UUID("3f2b5c5e-7d0c-4b0e-9a43-1f0b2c8f6d15")
# older events are ignored: the consumer starts with all events that NATS still stores
MAX_EVENT_AGE = timedelta(days=1)
OCCASIONS = {
    BuildStatus.SUCCESS: {Occasion.FINISHED, Occasion.FIXED},
    BuildStatus.FAILED: {Occasion.FINISHED, Occasion.FAILED},
    BuildStatus.KILLED: {Occasion.FINISHED},
}
"""Events that can apply to a finished build, by its result."""


async def request_notifications(ctx: Context, recorded: RecordedEvent[BuildStarted | BuildFinished]) -> None:
    """Request a notification for each active receiver of the project that is set to be notified of the event.

    Ignore events that are older than MAX_EVENT_AGE.
    """
    event = recorded.event
    if now() - recorded.at > MAX_EVENT_AGE:
        return
    possible = OCCASIONS[event.status] if isinstance(event, BuildFinished) else {Occasion.STARTED}
    receivers = [
        row
        for row in await ctx.read_model(ReceiverRow).find({"project_id": event.project_id}, [("id", 1)])
        if row.active and possible & set(row.events)
    ]
    if not receivers:
        return
    fixed = Occasion.FIXED in possible and await is_fix(ctx, event.build_id, recorded.version)
    happened = possible if fixed else possible - {Occasion.FIXED}
    event_id = str(uuid5(EVENT_NAMESPACE, recorded.id))
    for receiver in receivers:
        if happened & set(receiver.events):
            await ctx.send(
                AddOutgoingRequest(
                    request_id=str(uuid5(EVENT_NAMESPACE, f"{recorded.id}/{receiver.id}")),
                    kind=receiver.kind,
                    project_id=event.project_id,
                    build_id=event.build_id,
                    target=receiver.server,
                    sha="",
                    state=state_after(event),
                    receiver_id=receiver.id,
                    event=Occasion.FINISHED if isinstance(event, BuildFinished) else Occasion.STARTED,
                    event_id=event_id,
                    occurred_at=recorded.at,
                    is_fix=fixed,
                ),
                step=str(receiver.id),
            )
