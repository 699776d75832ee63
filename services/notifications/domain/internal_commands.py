"""Internal commands of the notifications service: what its policies, workers and handlers give to its deciders."""

from dataclasses import dataclass

from contracts.notifications import NotificationKind
from libs.eventstore.decider import InternalCommand


@dataclass(frozen=True)
class RequestNotification(InternalCommand):
    """Request an e-mail, to a user or an address."""

    notification_id: str
    kind: NotificationKind
    title: str
    text: str
    user_id: int | None = None
    recipient: str | None = None
    link: str = ""  # path relative to the server's URL


@dataclass(frozen=True)
class MarkNotificationSent(InternalCommand):
    """Record that an e-mail was accepted by the mail server."""

    notification_id: str


@dataclass(frozen=True)
class RecordNotificationFailure(InternalCommand):
    """Record a failed attempt to send an e-mail."""

    notification_id: str
    attempt: int
    reason: str


@dataclass(frozen=True)
class AbandonNotification(InternalCommand, wire_name="GiveUpNotification"):
    """Record that no further attempt is made to send an e-mail."""

    notification_id: str
    reason: str


@dataclass(frozen=True)
class SkipNotification(InternalCommand):
    """Record that an e-mail cannot be sent, for example without a recipient."""

    notification_id: str
    reason: str
