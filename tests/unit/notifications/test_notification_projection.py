"""The row of a notification: its state, attempts and reason, without the e-mail address."""

from datetime import UTC, datetime
from functools import reduce

from contracts.notifications import (
    NotificationAbandoned,
    NotificationEvent,
    NotificationFailed,
    NotificationRequested,
    NotificationRow,
    NotificationSent,
    NotificationSkipped,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.notifications.projections import notification_category

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
requested = NotificationRequested(
    notification_id="n", kind="test", recipient="a@example.org", title="Hello", text="Works."
)
failed = NotificationFailed(notification_id="n", attempt=1, reason="no answer")


def row_after(*events: NotificationEvent) -> NotificationRow:
    recorded = (RecordedEvent("notification-n", 1, 0, event, CommandMetadata("c", NOW)) for event in events)
    return reduce(notification_category.apply, recorded, notification_category.initial_row)


def test_a_requested_email_is_shown_as_requested() -> None:
    row = row_after(requested)
    assert (row.status, row.title, row.requested_at, row.ended_at) == ("requested", "Hello", NOW, None)


def test_the_row_does_not_contain_the_email_address() -> None:
    assert "example.org" not in row_after(requested).model_dump_json()


def test_delivery_attempts_are_counted() -> None:
    row = row_after(requested, failed, NotificationSent(notification_id="n"))
    assert (row.status, row.attempts, row.ended_at) == ("sent", 2, NOW)


def test_the_reason_of_an_abandoned_email_is_shown() -> None:
    row = row_after(requested, failed, NotificationAbandoned(notification_id="n", reason="no answer"))
    assert (row.status, row.attempts, row.reason) == ("gave_up", 1, "no answer")


def test_the_reason_of_a_skipped_email_is_shown() -> None:
    row = row_after(requested, NotificationSkipped(notification_id="n", reason="no recipient"))
    assert (row.status, row.attempts, row.reason) == ("skipped", 0, "no recipient")
