"""What people read about notifications; never the address, which only the log keeps, sealed."""

from typing import assert_never

from contracts.notifications import (
    NotificationEvent,
    NotificationFailed,
    NotificationGaveUp,
    NotificationRequested,
    NotificationRow,
    NotificationSent,
    NotificationSkipped,
    NotificationStatus,
)
from libs.deciding import Category, Recorded
from services.notifications.domain import notification_decider


def describe(row: NotificationRow, recorded: Recorded[NotificationEvent]) -> NotificationRow:
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
            return row.but(status=NotificationStatus.SENT, attempts=row.attempts + 1, ended_at=recorded.at)
        case NotificationFailed(attempt=attempt, reason=reason):
            return row.but(attempts=attempt, reason=reason)
        case NotificationGaveUp(reason=reason):
            return row.but(status=NotificationStatus.GAVE_UP, reason=reason, ended_at=recorded.at)
        case NotificationSkipped(reason=reason):
            return row.but(status=NotificationStatus.SKIPPED, reason=reason, ended_at=recorded.at)
        case _:
            assert_never(recorded.event)


notifications = Category(
    name="notification",
    decider=notification_decider,
    row=NotificationRow(),
    fold=describe,
    indexes=(("-requested_at",),),
)
