"""Internal commands of the notifications service, which its policies, workers and handlers send to its deciders."""

from dataclasses import dataclass
from datetime import datetime

from contracts.notifications import (
    MailBuilds,
    MailEvents,
    NotificationKind,
    NotificationStatus,
    Occasion,
    ReceiverKind,
)
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
    project_id: int | None = None  # the project that the e-mail is about


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
    """Record that an e-mail is not sent, for example because the user has no address."""

    notification_id: str
    reason: str


@dataclass(frozen=True)
class AddOutgoingRequest(InternalCommand):
    """Add a request to another server, with the fields of OutgoingRequested."""

    request_id: str
    kind: str
    project_id: int
    build_id: int
    target: str
    sha: str
    state: str
    ref: str | None = None
    receiver_id: int | None = None
    event: str = ""
    event_id: str = ""
    occurred_at: datetime | None = None
    is_fix: bool = False
    repeats: str | None = None


@dataclass(frozen=True)
class RecordAttemptFailure(InternalCommand):
    """Record a failed attempt to send a request."""

    request_id: str
    attempt: int
    reason: str
    response_code: int | None = None


@dataclass(frozen=True)
class EndOutgoingRequest(InternalCommand):
    """Record that a request was sent, skipped or abandoned."""

    request_id: str
    status: NotificationStatus
    reason: str = ""
    response_code: int | None = None


@dataclass(frozen=True)
class SetMailRule(InternalCommand):
    """Set the whole mail rule of a user in a project."""

    project_id: int
    user_id: int
    events: MailEvents
    builds: MailBuilds


@dataclass(frozen=True)
class DeleteMailRule(InternalCommand):
    """Delete a mail rule, because the project or the user was deleted."""

    project_id: int
    user_id: int


@dataclass(frozen=True)
class AddReceiver(InternalCommand):
    """Add a receiver with a new id, its encrypted URL and secret."""

    project_id: int
    receiver_id: int
    kind: ReceiverKind
    server: str
    sealed_url: str
    sealed_secret: str
    events: tuple[Occasion, ...]
    active: bool


@dataclass(frozen=True)
class UpdateReceiver(InternalCommand):
    """Change a receiver. A field that is None stays unchanged."""

    project_id: int
    receiver_id: int
    server: str | None = None
    sealed_url: str | None = None
    sealed_secret: str | None = None
    events: tuple[Occasion, ...] | None = None
    active: bool | None = None
