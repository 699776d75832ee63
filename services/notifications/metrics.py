"""What the service measures: what became of mails."""

from typing import Any

from contracts.notifications import NotificationAbandoned, NotificationFailed, NotificationSent, NotificationSkipped
from libs.eventstore.decider import RecordedEvent
from libs.observability.metric_specs import CounterSpec, MetricSpec

MAIL_OUTCOMES: dict[type[Any], str] = {
    NotificationSent: "sent",
    NotificationFailed: "failed",  # once; it may be tried again
    NotificationAbandoned: "given_up",
    NotificationSkipped: "skipped",
}


def mail_outcome(recorded: RecordedEvent[Any]) -> str | None:
    return MAIL_OUTCOMES.get(type(recorded.event))


METRICS: tuple[MetricSpec, ...] = (
    CounterSpec("headrace_mails", "Mails by what became of them", mail_outcome, tuple(MAIL_OUTCOMES.values())),
)
