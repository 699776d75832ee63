"""Commands to a notification: the request, its attempts, and its end as sent, abandoned or skipped."""

import pytest

from contracts.notifications import (
    NotificationAbandoned,
    NotificationEvent,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    NotificationSkipped,
)
from services.notifications.domain.internal_commands import (
    AbandonNotification,
    MarkNotificationSent,
    RecordNotificationFailure,
    RequestNotification,
    SkipNotification,
)
from services.notifications.domain.notification import notification_decider
from tests.support.scenario import Scenario

request = RequestNotification(notification_id="n", kind="test", recipient="a@example.org", title="Hello", text="Works.")
requested = NotificationRequested(
    notification_id="n", kind="test", recipient="a@example.org", title="Hello", text="Works."
)
fail = RecordNotificationFailure(notification_id="n", attempt=1, reason="no answer")
failed = NotificationFailed(notification_id="n", attempt=1, reason="no answer")
sent = NotificationSent(notification_id="n")
abandoned = NotificationAbandoned(notification_id="n", reason="no answer")
skipped = NotificationSkipped(notification_id="n", reason="no recipient")

notification = Scenario(notification_decider)


def test_an_email_is_requested() -> None:
    notification.when(request).then(requested)


def test_requesting_an_email_twice_changes_nothing() -> None:
    notification.given(requested).when(request).then()


def test_a_sent_email_is_recorded() -> None:
    notification.given(requested).when(MarkNotificationSent(notification_id="n")).then(sent)


def test_a_failed_attempt_is_recorded_once() -> None:
    notification.given(requested).when(fail).then(failed)
    notification.given(requested, failed).when(fail).then()


def test_every_further_failed_attempt_is_recorded() -> None:
    notification.given(requested, failed).when(fail.replace(attempt=2)).then(failed.replace(attempt=2))


def test_an_email_can_be_sent_after_failed_attempts() -> None:
    notification.given(requested, failed).when(MarkNotificationSent(notification_id="n")).then(sent)


def test_an_email_is_abandoned() -> None:
    give_up = AbandonNotification(notification_id="n", reason="no answer")
    notification.given(requested, failed).when(give_up).then(abandoned)


def test_an_email_is_skipped() -> None:
    skip = SkipNotification(notification_id="n", reason="no recipient")
    notification.given(requested).when(skip).then(skipped)


@pytest.mark.parametrize("end_event", [sent, abandoned, skipped])
def test_a_finished_email_ignores_further_commands(end_event: NotificationEvent) -> None:
    finished = notification.given(requested, end_event)
    finished.when(MarkNotificationSent(notification_id="n")).then()
    finished.when(AbandonNotification(notification_id="n", reason="late")).then()
    finished.when(fail.replace(attempt=2)).then()


def test_an_email_that_was_not_requested_cannot_be_sent() -> None:
    notification.when(MarkNotificationSent(notification_id="n")).then_refused("NOT_FOUND")
