"""What the service measures: what became of mails."""

from typing import Any

from contracts.notifications import NotificationFailed, NotificationGaveUp, NotificationSent, NotificationSkipped
from libs.deciding import Recorded
from libs.measuring import Count, Measure

OUTCOMES: dict[type[Any], str] = {
    NotificationSent: "sent",
    NotificationFailed: "failed",  # once; it may be tried again
    NotificationGaveUp: "given_up",
    NotificationSkipped: "skipped",
}


def outcome(recorded: Recorded[Any]) -> str | None:
    return OUTCOMES.get(type(recorded.event))


MEASURES: tuple[Measure, ...] = (
    Count("headrace_mails", "Mails by what became of them", outcome, tuple(OUTCOMES.values())),
)
