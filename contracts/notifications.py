"""Messages of the notifications service: requested e-mails, HTTP requests to other servers, and their delivery."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

from contracts.messages import Command, Event, ReadModelRow
from contracts.paging import PageRequest

NotificationKind = Literal["build_failed", "test"]


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
    """An e-mail will not be sent: the last attempt failed, or a retry cannot succeed."""

    notification_id: str
    reason: str


class NotificationSkipped(Event):
    """An e-mail cannot be sent, for example without a recipient."""

    notification_id: str
    reason: str


class NotificationRow(ReadModelRow):
    id: str = ""
    kind: NotificationKind = "test"
    status: NotificationStatus = NotificationStatus.NEW
    user_id: int | None = None
    title: str = ""
    attempts: int = 0
    reason: str = ""  # why the last attempt failed, or why the e-mail was skipped
    requested_at: datetime | None = None
    ended_at: datetime | None = None


NotificationEvent = (
    NotificationRequested | NotificationSent | NotificationFailed | NotificationAbandoned | NotificationSkipped
)


class OutgoingRequested(Event):
    """A request to another server was recorded, to be sent. At present, it sets the status of a commit at a forge."""

    request_id: str
    kind: str  # `commit_status`; a later release may add others
    project_id: int
    build_id: int
    target: str  # `github`, `gitlab` or `gitea`
    sha: str
    ref: str | None = None
    state: str  # `pending`, `running`, `success`, `failure` or `canceled`


class OutgoingAttemptFailed(Event):
    """An attempt to send a request failed. The reason contains no secrets and no part of the server's response."""

    request_id: str
    attempt: int
    reason: str


class OutgoingEnded(Event):
    """A request was sent, skipped, or abandoned after the last attempt."""

    request_id: str
    status: NotificationStatus
    reason: str = ""  # why it was not sent


OutgoingEvent = OutgoingRequested | OutgoingAttemptFailed | OutgoingEnded


class OutgoingRow(ReadModelRow):
    id: str = ""
    kind: str = ""
    project_id: int = 0
    build_id: int = 0
    target: str = ""
    sha: str = ""
    state: str = ""
    status: NotificationStatus = NotificationStatus.NEW
    attempts: int = 0
    reason: str = ""  # why the last attempt failed, or why the request was skipped
    requested_at: datetime | None = None
    ended_at: datetime | None = None


class ListOutgoing(PageRequest):
    """List requests to other servers, newest first. Answer: Page of OutgoingRow. Errors: PROJECT_NOT_FOUND."""

    project_id: int | None = None  # None: of all projects
