"""Read model of outgoing requests."""

from typing import assert_never

from contracts.notifications import (
    NotificationStatus,
    OutgoingAttemptFailed,
    OutgoingEnded,
    OutgoingEvent,
    OutgoingRequested,
    OutgoingRow,
)
from libs.eventstore.decider import Category, RecordedEvent
from services.notifications.domain.outgoing import outgoing_decider


def apply_outgoing_event(row: OutgoingRow, recorded: RecordedEvent[OutgoingEvent]) -> OutgoingRow:
    match recorded.event:
        case OutgoingRequested(request_id=request_id) as event:
            return OutgoingRow(
                id=request_id,
                status=NotificationStatus.REQUESTED,
                requested_at=recorded.at,
                **{name: value for name, value in event if name != "request_id"},
            )
        case OutgoingAttemptFailed(attempt=attempt, reason=reason, response_code=code):
            return row.replace(attempts=attempt, reason=reason, response_code=code)
        case OutgoingEnded(status=status, reason=reason, response_code=code):
            sent = status is NotificationStatus.SENT
            return row.replace(
                status=status,
                attempts=row.attempts + sent,
                reason=reason or row.reason,
                response_code=code or row.response_code,
                ended_at=recorded.at,
            )
        case _:
            assert_never(recorded.event)


outgoing_category = Category(
    name="outgoing",
    decider=outgoing_decider,
    initial_row=OutgoingRow(),
    apply=apply_outgoing_event,
    indexes=(
        ("-requested_at", "-id"),
        ("project_id", "-requested_at", "-id"),
        ("receiver_id", "-requested_at", "-id"),
    ),
)
