"""The notification aggregate: one e-mail and its attempts."""

from collections.abc import Sequence
from dataclasses import replace
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
from libs.eventstore.decider import Decider
from services.notifications.domain.delivery import Delivery
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


def decide(delivery: Delivery, command: NotificationCommand) -> Sequence[NotificationEvent]:
    match command:
        case RequestNotification():
            return delivery.on_request(NotificationRequested(**vars(command)))
        case MarkNotificationSent():
            return delivery.on_end(NotificationSent(**vars(command)))
        case RecordNotificationFailure(attempt=attempt):
            return delivery.on_failure(NotificationFailed(**vars(command)), attempt)
        case AbandonNotification():
            return delivery.on_end(NotificationAbandoned(**vars(command)))
        case SkipNotification():
            return delivery.on_end(NotificationSkipped(**vars(command)))


def evolve(delivery: Delivery, event: NotificationEvent) -> Delivery:
    match event:
        case NotificationRequested():
            return Delivery(NotificationStatus.REQUESTED)
        case NotificationSent():
            return replace(delivery, status=NotificationStatus.SENT)
        case NotificationFailed(attempt=attempt):
            return replace(delivery, attempts=attempt)
        case NotificationAbandoned():
            return replace(delivery, status=NotificationStatus.ABANDONED)
        case NotificationSkipped():
            return replace(delivery, status=NotificationStatus.SKIPPED)
        case _:
            assert_never(event)


notification_decider = Decider[NotificationCommand, Delivery, NotificationEvent](
    commands=(
        RequestNotification,
        MarkNotificationSent,
        RecordNotificationFailure,
        AbandonNotification,
        SkipNotification,
    ),
    stream=lambda command: notification_stream(command.notification_id),
    initial=Delivery(),
    decide=decide,
    evolve=evolve,
    initial_commands=(RequestNotification,),
)


def notification_stream(notification_id: str) -> str:
    return f"notification-{notification_id}"
