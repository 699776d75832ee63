"""Metrics of the notifications service: mails and outgoing requests by outcome."""

from opentelemetry.metrics import Meter

from contracts.messages import Event, ReadModelRow
from contracts.notifications import (
    NotificationAbandoned,
    NotificationFailed,
    NotificationSent,
    NotificationSkipped,
    NotificationStatus,
    OutgoingAttemptFailed,
    OutgoingEnded,
    OutgoingRow,
)
from libs.eventstore.decider import AnyEvent
from libs.observability.metrics import create_outcome_counter
from libs.service.declaration import EventRecorder

MAIL_OUTCOMES: dict[type[Event], str] = {
    NotificationSent: "sent",
    NotificationFailed: "failed",  # one failed attempt, which may be retried
    NotificationAbandoned: "given_up",
    NotificationSkipped: "skipped",
}
OUTGOING_OUTCOMES = {
    NotificationStatus.SENT: "sent",
    NotificationStatus.ABANDONED: "given_up",
    NotificationStatus.SKIPPED: "skipped",
}


def create_recorder(meter: Meter) -> EventRecorder:
    mails = create_outcome_counter(meter, "headrace_mails", "Mails by outcome", tuple(MAIL_OUTCOMES.values()))
    requests = create_outcome_counter(
        meter, "headrace_outgoing_requests", "Requests to forges by outcome", tuple(MAIL_OUTCOMES.values())
    )

    receivers = create_outcome_counter(
        meter, "headrace_receiver_requests", "Webhooks and chat messages by outcome", tuple(MAIL_OUTCOMES.values())
    )

    def record(recorded: AnyEvent, row: ReadModelRow) -> None:
        if outcome := MAIL_OUTCOMES.get(type(recorded.event)):
            mails.add(1, {"outcome": outcome})
        counter = receivers if isinstance(row, OutgoingRow) and row.receiver_id else requests
        match recorded.event:
            case OutgoingAttemptFailed():
                counter.add(1, {"outcome": "failed"})
            case OutgoingEnded(status=status):
                counter.add(1, {"outcome": OUTGOING_OUTCOMES[status]})

    return record
