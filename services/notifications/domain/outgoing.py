"""The outgoing request aggregate: one HTTP request to another server, and its attempts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from contracts.notifications import (
    NotificationStatus,
    OutgoingAttemptFailed,
    OutgoingEnded,
    OutgoingEvent,
    OutgoingRequested,
)
from libs.eventstore.decider import Decider
from services.notifications.domain.delivery import Delivery
from services.notifications.domain.internal_commands import (
    AddOutgoingRequest,
    EndOutgoingRequest,
    RecordAttemptFailure,
)

OutgoingCommand = AddOutgoingRequest | RecordAttemptFailure | EndOutgoingRequest


def decide(delivery: Delivery, command: OutgoingCommand) -> Sequence[OutgoingEvent]:
    match command:
        case AddOutgoingRequest():
            return delivery.on_request(OutgoingRequested(**vars(command)))
        case RecordAttemptFailure(attempt=attempt):
            return delivery.on_failure(OutgoingAttemptFailed(**vars(command)), attempt)
        case EndOutgoingRequest():
            return delivery.on_end(OutgoingEnded(**vars(command)))


def evolve(delivery: Delivery, event: OutgoingEvent) -> Delivery:
    match event:
        case OutgoingRequested():
            return Delivery(NotificationStatus.REQUESTED)
        case OutgoingAttemptFailed(attempt=attempt):
            return replace(delivery, attempts=attempt)
        case OutgoingEnded(status=status):
            return replace(delivery, status=status)
        case _:
            assert_never(event)


outgoing_decider = Decider[OutgoingCommand, Delivery, OutgoingEvent](
    commands=(AddOutgoingRequest, RecordAttemptFailure, EndOutgoingRequest),
    stream=lambda command: f"outgoing-{command.request_id}",
    initial=Delivery(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddOutgoingRequest,),
)
