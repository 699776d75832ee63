"""Messages about receivers: URLs to which webhooks or chat messages about the builds of a project are sent."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from contracts.messages import ChangedFields, Command, Event, Message, Query
from contracts.notifications.outgoing import OutgoingRow

MAX_URL_LENGTH = 2048
MAX_SIGNING_SECRET_LENGTH = 255

Url = Annotated[str, Field(max_length=MAX_URL_LENGTH)]
SigningSecret = Annotated[str, Field(max_length=MAX_SIGNING_SECRET_LENGTH)]


class ReceiverKind(StrEnum):
    WEBHOOK = "webhook"  # signed CloudEvents
    SLACK = "slack"  # messages for incoming webhooks of Slack and Mattermost


class Occasion(StrEnum):
    """What a receiver is notified of."""

    STARTED = "started"
    FINISHED = "finished"  # with any result
    FAILED = "failed"
    FIXED = "fixed"  # success after a failure of the same ref


Occasions = Annotated[tuple[Occasion, ...], Field(max_length=len(Occasion))]


class CreateReceiver(Command):
    """Create a receiver of a project.

    Errors: PROJECT_NOT_FOUND, RECEIVER_URL_REQUIRED, RECEIVER_URL_INVALID, RECEIVER_SECRET_INVALID,
    RECEIVER_EVENTS_INVALID, RECEIVER_LIMIT.
    """

    project_id: int
    kind: ReceiverKind | None = None  # None: webhook
    url: Url | None = Field(default=None, repr=False)  # may contain a token
    secret: SigningSecret | None = Field(default=None, repr=False)  # key that signs webhooks; None for chat messages
    events: Occasions | None = None  # None: `failed` and `fixed`
    active: bool | None = None  # None: true


class ChangeReceiver(ChangedFields, Command):
    """Change fields of a receiver. A missing field is unchanged, None is the default of CreateReceiver.

    Errors: RECEIVER_NOT_FOUND, and those of CreateReceiver except RECEIVER_LIMIT.
    """

    project_id: int
    receiver_id: int
    url: Url | None = Field(default=None, repr=False)
    secret: SigningSecret | None = Field(default=None, repr=False)
    events: Occasions | None = None
    active: bool | None = None


class DeleteReceiver(Command):
    """Delete a receiver. The requests to it stay listed. Errors: PROJECT_NOT_FOUND, RECEIVER_NOT_FOUND."""

    project_id: int
    receiver_id: int


class GetReceiver(Query):
    """Get a receiver. Answer: ReceiverView. Errors: RECEIVER_NOT_FOUND."""

    receiver_id: int
    project_id: int | None = None  # RECEIVER_NOT_FOUND for a receiver of another project; None: any


class ListReceivers(Query):
    """List the receivers of a project by id. Answer: Receivers. Errors: PROJECT_NOT_FOUND."""

    project_id: int


class ReceiverCreated(Event):
    receiver_id: int
    project_id: int
    kind: ReceiverKind
    server: str  # scheme, host and port of the URL
    sealed_url: str
    sealed_secret: str = ""  # empty: requests are not signed
    events: tuple[Occasion, ...]
    active: bool = True


class ReceiverChanged(ChangedFields, Event):
    """Fields of a receiver changed. The event contains only the changed fields."""

    receiver_id: int
    project_id: int
    server: str = ""
    sealed_url: str = ""
    sealed_secret: str = ""
    events: tuple[Occasion, ...] = ()
    active: bool = True


class ReceiverDeleted(Event):
    receiver_id: int
    project_id: int


ReceiverEvent = ReceiverCreated | ReceiverChanged | ReceiverDeleted


class ReceiverView(Message):
    id: int
    project_id: int
    kind: ReceiverKind
    server: str
    events: tuple[Occasion, ...]
    active: bool
    created_at: datetime
    last_delivery: OutgoingRow | None = None  # the latest request to the receiver; None: no request yet


class Receivers(Message):
    receivers: tuple[ReceiverView, ...]
