"""What crosses a wire about notifications: which mail is wished, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from contracts.messages import Command, Event, Query, ReadModelRow

NotificationKind = Literal["build_failed", "test"]


class NotificationStatus(StrEnum):
    NEW = "new"
    REQUESTED = "requested"
    SENT = "sent"
    SKIPPED = "skipped"
    ABANDONED = "gave_up"


# commands


class RequestNotification(Command):
    """A mail to a user, or to an address."""

    notification_id: str
    kind: NotificationKind
    user_id: int | None = None
    recipient: str | None = None
    title: str
    text: str
    link: str = ""  # path below the server's own address


class MarkNotificationSent(Command):
    notification_id: str


class RecordNotificationFailure(Command):
    notification_id: str
    attempt: int
    reason: str


class AbandonNotification(Command, wire_name="GiveUpNotification"):
    notification_id: str
    reason: str


class SkipNotification(Command):
    notification_id: str
    reason: str


class SendTestMail(Command):
    """A test mail to the address. Answers Done with the NotificationRow, or MAIL_RECIPIENT_INVALID."""

    recipient: str


# queries


class ListNotifications(Query):
    """Answers a Page of NotificationRow, the newest first."""

    page: int = Field(default=1, ge=1)
    per_page: int = Field(default=20, ge=1, le=1000)


# events


class NotificationRequested(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"recipient"})

    notification_id: str
    kind: NotificationKind
    user_id: int | None = None
    recipient: str | None = None
    title: str
    text: str
    link: str = ""


class NotificationSent(Event):
    notification_id: str


class NotificationFailed(Event):
    """One attempt did not succeed; the reason is in words, without the address or anything secret."""

    notification_id: str
    attempt: int
    reason: str


class NotificationAbandoned(Event, wire_name="NotificationGaveUp"):
    notification_id: str
    reason: str


class NotificationSkipped(Event):
    notification_id: str
    reason: str


# rows


class NotificationRow(ReadModelRow):
    id: str = ""
    kind: NotificationKind = "test"
    status: NotificationStatus = NotificationStatus.NEW
    user_id: int | None = None
    title: str = ""
    attempts: int = 0
    reason: str = ""  # of the last failure, or why it was not sent
    requested_at: datetime | None = None
    ended_at: datetime | None = None


NotificationCommand = (
    RequestNotification | MarkNotificationSent | RecordNotificationFailure | AbandonNotification | SkipNotification
)
NotificationEvent = (
    NotificationRequested | NotificationSent | NotificationFailed | NotificationAbandoned | NotificationSkipped
)
