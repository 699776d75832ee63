"""SSH keys of a user; the service overwrites the fields under "filled in"."""

from datetime import date, datetime
from typing import ClassVar

from pydantic import Field

from contracts.identity.fields import Name
from contracts.messages import Command, Event, Message, Query
from contracts.paging import SliceQuery

MAX_SSH_KEY_LENGTH = 8192  # an RSA key of 16384 bits and a long comment


class AddSshKey(Command):
    """Refused with a KEY_... code if the key is broken, weak or anybody's already (comments do not count)."""

    user_id: int
    # one line as in authorized_keys, without options; hidden, for it may be a private key by mistake
    public_key: str | None = Field(default=None, repr=False, max_length=MAX_SSH_KEY_LENGTH)
    title: Name | None = None
    expires_at: date | None = None  # the last day
    # filled in
    key_uuid: str = ""
    today: date = date.min


class RemoveSshKey(Command):
    user_id: int
    key_uuid: str


class SshKeyAdded(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"public_key", "title"})

    user_id: int
    key_uuid: str
    public_key: str  # as it was sent
    title: str
    fingerprint: str  # SHA256:... as OpenSSH writes it
    expires_at: str | None = None  # 2030-10-10


class SshKeyRemoved(Event):
    user_id: int
    key_uuid: str


class SshKeyView(Message):
    uuid: str
    user_uuid: str
    public_key: str
    title: str
    fingerprint: str
    expires_at: date | None
    created_at: datetime


class GetSshKey(Query):
    """Answered with an SshKeyView: this key of the user, or the one that was added last."""

    user_id: int
    key_uuid: str | None = None


class ListSshKeys(SliceQuery, wire_name="PageSshKeys"):
    """The keys of a user, oldest first; the rows are SshKeyViews."""

    user_id: int
