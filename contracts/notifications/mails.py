"""Messages about requested e-mails and their delivery."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from contracts.messages import Command, Event, ReadModelRow
from contracts.paging import PageRequest

NotificationKind = Literal["build_failed", "build_succeeded", "test"]


class NotificationStatus(StrEnum):
    NEW = "new"
    REQUESTED = "requested"
    SENT = "sent"
    SKIPPED = "skipped"
    ABANDONED = "gave_up"


class SendTestMail(Command):
    """Send a test e-mail. Answer: CommandReply with the NotificationRow. Errors: MAIL_RECIPIENT_INVALID."""

    recipient: str


class ListNotifications(PageRequest):
    """List notifications, newest first. Answer: Page of NotificationRow."""


class NotificationRequested(Event):
    """An e-mail was requested, to a user or an address."""

    personal: ClassVar[frozenset[str]] = frozenset({"recipient"})

    notification_id: str
    kind: NotificationKind
    user_id: int | None = None
    recipient: str | None = None
    title: str
    text: str
    link: str = ""
    project_id: int | None = None  # the e-mail is not sent if the user can no longer see this project


class NotificationSent(Event):
    """An e-mail was accepted by the mail server."""

    notification_id: str


class NotificationFailed(Event):
    """An attempt to send an e-mail failed. The reason contains no address and no secrets."""

    notification_id: str
    attempt: int
    reason: str


class NotificationAbandoned(Event, wire_name="NotificationGaveUp"):
    """An e-mail will not be sent: the last attempt failed, or a retry would fail the same way."""

    notification_id: str
    reason: str


class NotificationSkipped(Event):
    """An e-mail was not sent, for example because the user has no e-mail address."""

    notification_id: str
    reason: str


class NotificationRow(ReadModelRow):
    id: str = ""
    kind: NotificationKind = "test"
    status: NotificationStatus = NotificationStatus.NEW
    user_id: int | None = None
    title: str = ""
    attempts: int = 0
    reason: str = ""  # why the last attempt failed, or why the e-mail was skipped; empty: no failure
    requested_at: datetime | None = None
    ended_at: datetime | None = None


NotificationEvent = (
    NotificationRequested | NotificationSent | NotificationFailed | NotificationAbandoned | NotificationSkipped
)
