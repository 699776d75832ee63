"""Messages about HTTP requests to other servers, and their delivery."""

from datetime import datetime

from contracts.messages import Command, Event, ReadModelRow
from contracts.notifications.mails import NotificationStatus
from contracts.paging import PageRequest


class OutgoingRequested(Event):
    """A request to another server was created: the status of a commit, a webhook or a chat message."""

    request_id: str
    kind: str  # `commit_status`, `webhook` or `slack`; a later release may add others
    project_id: int
    build_id: int
    target: str  # `github`, `gitlab` or `gitea`; for a receiver, its server
    sha: str  # empty: not the status of a commit
    ref: str | None = None
    state: str  # `pending`, `running`, `success`, `failure` or `canceled`
    receiver_id: int | None = None  # None: the status of a commit
    event: str = ""  # `started` or `finished`: what the receiver is notified of; empty: the status of a commit
    event_id: str = ""  # id of the notification; all requests about it, also repeated ones, have this id
    occurred_at: datetime | None = None  # time of the build's event
    is_fix: bool = False  # the build succeeded after a failure of the same ref
    repeats: str | None = None  # id of the earlier request that this one repeats; None: not a repetition


class OutgoingAttemptFailed(Event):
    """An attempt to send a request failed. The reason contains no secrets and no part of the server's response."""

    request_id: str
    attempt: int
    reason: str
    response_code: int | None = None  # HTTP status; None: there was no response


class OutgoingEnded(Event):
    """A request was sent, skipped, or abandoned after the last attempt."""

    request_id: str
    status: NotificationStatus
    reason: str = ""  # why the request was not sent; empty: sent
    response_code: int | None = None  # HTTP status of the last attempt; None: no response, or skipped


OutgoingEvent = OutgoingRequested | OutgoingAttemptFailed | OutgoingEnded


class OutgoingRow(ReadModelRow):
    id: str = ""
    kind: str = ""
    project_id: int = 0
    build_id: int = 0
    target: str = ""
    sha: str = ""
    ref: str | None = None
    state: str = ""
    receiver_id: int | None = None
    event: str = ""
    event_id: str = ""
    occurred_at: datetime | None = None
    is_fix: bool = False
    repeats: str | None = None
    status: NotificationStatus = NotificationStatus.NEW
    attempts: int = 0
    reason: str = ""  # why the last attempt failed, or why the request was skipped; empty: no failure
    response_code: int | None = None  # HTTP status of the last response; None: there was no response
    requested_at: datetime | None = None
    ended_at: datetime | None = None


class ListOutgoing(PageRequest):
    """List requests to other servers, newest first. Answer: Page of OutgoingRow. Errors: PROJECT_NOT_FOUND."""

    project_id: int | None = None  # None: requests of all projects
    receiver_id: int | None = None  # None: requests to all receivers, and statuses of commits
    kind: str | None = None  # as in OutgoingRequested; None: all kinds


class RepeatOutgoing(Command):
    """Send a request again that was sent, skipped or abandoned. Answer: the OutgoingRow of the new request.

    Errors: PROJECT_NOT_FOUND, OUTGOING_REQUEST_NOT_FOUND, OUTGOING_REQUEST_STATUS if the request is still being sent.
    """

    project_id: int
    outgoing_request_id: str
