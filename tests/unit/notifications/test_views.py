"""What administrators read about mails."""

from datetime import UTC, datetime
from functools import reduce

from contracts.notifications import (
    NotificationEvent,
    NotificationFailed,
    NotificationGaveUp,
    NotificationRequested,
    NotificationRow,
    NotificationSent,
    NotificationSkipped,
)
from libs.deciding import Cause, Recorded
from services.notifications.views import notifications

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
requested = NotificationRequested(
    notification_id="n", kind="test", recipient="a@example.org", title="Hello", text="Works."
)
failed = NotificationFailed(notification_id="n", attempt=1, reason="no answer")


def row_after(*events: NotificationEvent) -> NotificationRow:
    recorded = (Recorded("notification-n", 1, 0, event, Cause("c", NOW)) for event in events)
    return reduce(notifications.fold, recorded, notifications.row)


def test_a_requested_mail_waits() -> None:
    row = row_after(requested)
    assert (row.status, row.title, row.requested_at, row.ended_at) == ("requested", "Hello", NOW, None)


def test_the_address_is_in_no_row() -> None:
    assert "example.org" not in row_after(requested).model_dump_json()


def test_attempts_are_counted() -> None:
    row = row_after(requested, failed, NotificationSent(notification_id="n"))
    assert (row.status, row.attempts, row.ended_at) == ("sent", 2, NOW)


def test_the_reason_of_giving_up_is_shown() -> None:
    row = row_after(requested, failed, NotificationGaveUp(notification_id="n", reason="no answer"))
    assert (row.status, row.attempts, row.reason) == ("gave_up", 1, "no answer")


def test_the_reason_of_skipping_is_shown() -> None:
    row = row_after(requested, NotificationSkipped(notification_id="n", reason="nobody there"))
    assert (row.status, row.attempts, row.reason) == ("skipped", 0, "nobody there")
