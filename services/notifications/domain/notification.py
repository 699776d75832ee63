"""The notification aggregate: one e-mail and its attempts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from contracts.notifications import (
    NotificationAbandoned,
    NotificationEvent,
    NotificationFailed,
    NotificationRequested,
    NotificationSent,
    NotificationSkipped,
    NotificationStatus,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.notifications.domain.internal_commands import (
    AbandonNotification,
    MarkNotificationSent,
    RecordNotificationFailure,
    RequestNotification,
    SkipNotification,
)

NotificationCommand = (
    RequestNotification | MarkNotificationSent | RecordNotificationFailure | AbandonNotification | SkipNotification
)


@dataclass(frozen=True, slots=True)
class Notification:
    """State of a notification: only what `decide` needs. The read model is in projections.py."""

    status: NotificationStatus = NotificationStatus.NEW
    attempts: int = 0


def decide(notification: Notification, command: NotificationCommand) -> Sequence[NotificationEvent]:
    notification_id = command.notification_id
    match notification.status, command:
        case NotificationStatus.NEW, RequestNotification():
            return [NotificationRequested(**vars(command))]
        case NotificationStatus.NEW, _:
            raise RequestRejected("NOT_FOUND", "There is no such notification.")
        case NotificationStatus.REQUESTED, MarkNotificationSent():
            return [NotificationSent(notification_id=notification_id)]
        case NotificationStatus.REQUESTED, RecordNotificationFailure(attempt=attempt, reason=reason):
            if attempt <= notification.attempts:
                return []  # the attempt is already recorded
            return [NotificationFailed(notification_id=notification_id, attempt=attempt, reason=reason)]
        case NotificationStatus.REQUESTED, AbandonNotification(reason=reason):
            return [NotificationAbandoned(notification_id=notification_id, reason=reason)]
        case NotificationStatus.REQUESTED, SkipNotification(reason=reason):
            return [NotificationSkipped(notification_id=notification_id, reason=reason)]
        case _:
            return []  # a duplicate: two replicas may have sent the same mail


def evolve(notification: Notification, event: NotificationEvent) -> Notification:
    match event:
        case NotificationRequested():
            return Notification(NotificationStatus.REQUESTED)
        case NotificationSent():
            return replace(notification, status=NotificationStatus.SENT)
        case NotificationFailed(attempt=attempt):
            return replace(notification, attempts=attempt)
        case NotificationAbandoned():
            return replace(notification, status=NotificationStatus.ABANDONED)
        case NotificationSkipped():
            return replace(notification, status=NotificationStatus.SKIPPED)
        case _:
            assert_never(event)


notification_decider = Decider[NotificationCommand, Notification, NotificationEvent](
    commands=(
        RequestNotification,
        MarkNotificationSent,
        RecordNotificationFailure,
        AbandonNotification,
        SkipNotification,
    ),
    stream=lambda command: notification_stream(command.notification_id),
    initial=Notification(),
    decide=decide,
    evolve=evolve,
    initial_commands=(RequestNotification,),
)


def notification_stream(notification_id: str) -> str:
    return f"notification-{notification_id}"
