"""The outgoing request aggregate: one HTTP request to a forge, and its attempts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from contracts.notifications import (
    NotificationStatus,
    OutgoingAttemptFailed,
    OutgoingEnded,
    OutgoingEvent,
    OutgoingRequested,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.notifications.domain.internal_commands import (
    AddOutgoingRequest,
    EndOutgoingRequest,
    RecordAttemptFailure,
)

OutgoingCommand = AddOutgoingRequest | RecordAttemptFailure | EndOutgoingRequest


@dataclass(frozen=True, slots=True)
class Outgoing:
    """State of a request: only what `decide` needs. The read model is in outgoing/outgoing_projection.py."""

    status: NotificationStatus = NotificationStatus.NEW
    attempts: int = 0


def decide(outgoing: Outgoing, command: OutgoingCommand) -> Sequence[OutgoingEvent]:
    request_id = command.request_id
    match outgoing.status, command:
        case NotificationStatus.NEW, AddOutgoingRequest():
            return [OutgoingRequested(**vars(command))]
        case NotificationStatus.NEW, _:
            raise RequestRejected("NOT_FOUND", "There is no such request.")
        case NotificationStatus.REQUESTED, RecordAttemptFailure(attempt=attempt, reason=reason):
            if attempt <= outgoing.attempts:
                return []  # the attempt is already recorded
            return [OutgoingAttemptFailed(request_id=request_id, attempt=attempt, reason=reason)]
        case NotificationStatus.REQUESTED, EndOutgoingRequest(status=status, reason=reason):
            return [OutgoingEnded(request_id=request_id, status=status, reason=reason)]
        case _:
            return []  # a duplicate: the event was handled again


def evolve(outgoing: Outgoing, event: OutgoingEvent) -> Outgoing:
    match event:
        case OutgoingRequested():
            return Outgoing(NotificationStatus.REQUESTED)
        case OutgoingAttemptFailed(attempt=attempt):
            return replace(outgoing, attempts=attempt)
        case OutgoingEnded(status=status):
            return replace(outgoing, status=status)
        case _:
            assert_never(event)


outgoing_decider = Decider[OutgoingCommand, Outgoing, OutgoingEvent](
    commands=(AddOutgoingRequest, RecordAttemptFailure, EndOutgoingRequest),
    stream=lambda command: f"outgoing-{command.request_id}",
    initial=Outgoing(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddOutgoingRequest,),
)
