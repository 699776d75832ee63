"""Metrics of the notifications service."""

from contracts.messages import Event
from contracts.notifications import NotificationAbandoned, NotificationFailed, NotificationSent, NotificationSkipped
from libs.eventstore.decider import RecordedEvent
from libs.observability.metric_specs import CounterSpec, MetricSpec

MAIL_OUTCOMES: dict[type[Event], str] = {
    NotificationSent: "sent",
    NotificationFailed: "failed",  # one failed attempt, which may be retried
    NotificationAbandoned: "given_up",
    NotificationSkipped: "skipped",
}


def mail_outcome(recorded: RecordedEvent[Event]) -> str | None:
    """Return the label of the event, or None if it is not counted."""
    return MAIL_OUTCOMES.get(type(recorded.event))


METRICS: tuple[MetricSpec, ...] = (
    CounterSpec("headrace_mails", "Mails by outcome", mail_outcome, tuple(MAIL_OUTCOMES.values())),
)
