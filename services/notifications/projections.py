"""Read model of notifications. It has no e-mail addresses: the event of a test mail stores its address, encrypted."""

from typing import assert_never

from contracts.notifications import (
    NotificationAbandoned,
    NotificationEvent,
    NotificationFailed,
    NotificationRequested,
    NotificationRow,
    NotificationSent,
    NotificationSkipped,
    NotificationStatus,
)
from libs.eventstore.decider import Category, RecordedEvent
from services.notifications.domain.notification import notification_decider


def apply_notification_event(row: NotificationRow, recorded: RecordedEvent[NotificationEvent]) -> NotificationRow:
    match recorded.event:
        case NotificationRequested() as event:
            return NotificationRow(
                id=event.notification_id,
                kind=event.kind,
                status=NotificationStatus.REQUESTED,
                user_id=event.user_id,
                title=event.title,
                requested_at=recorded.at,
            )
        case NotificationSent():
            return row.replace(status=NotificationStatus.SENT, attempts=row.attempts + 1, ended_at=recorded.at)
        case NotificationFailed(attempt=attempt, reason=reason):
            return row.replace(attempts=attempt, reason=reason)
        case NotificationAbandoned(reason=reason):
            return row.replace(status=NotificationStatus.ABANDONED, reason=reason, ended_at=recorded.at)
        case NotificationSkipped(reason=reason):
            return row.replace(status=NotificationStatus.SKIPPED, reason=reason, ended_at=recorded.at)
        case _:
            assert_never(recorded.event)


notification_category = Category(
    name="notification",
    decider=notification_decider,
    initial_row=NotificationRow(),
    apply=apply_notification_event,
    indexes=(("-requested_at", "-id"),),
)
