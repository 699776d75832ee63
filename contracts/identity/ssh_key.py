"""Messages about SSH keys of users."""

from datetime import date, datetime
from typing import ClassVar

from pydantic import Field

from contracts.identity.fields import Name
from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageRequest

MAX_SSH_KEY_LENGTH = 8192  # characters: an RSA key of 16384 bits with a long comment


class AddSshKey(Command):
    """Add a public SSH key to a user.

    Errors: DEVELOPER_NOT_FOUND, KEY_TITLE_REQUIRED, KEY_PUBLIC_KEY_REQUIRED, KEY_PUBLIC_KEY_INVALID,
    KEY_PUBLIC_KEY_WEAK, KEY_PUBLIC_KEY_PRIVATE, KEY_PUBLIC_KEY_TAKEN, KEY_EXPIRES_AT_PAST, KEY_LIMIT.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"key_uuid", "today"})

    user_id: int
    # one line in authorized_keys format, without options; not in the repr, because it may be a private key by mistake
    public_key: str | None = Field(default=None, repr=False, max_length=MAX_SSH_KEY_LENGTH)
    title: Name | None = None
    expires_at: date | None = None  # last valid day


class RemoveSshKey(Command):
    """Remove an SSH key of a user. Errors: DEVELOPER_NOT_FOUND, KEY_NOT_FOUND."""

    user_id: int
    key_uuid: str


class SshKeyAdded(Event):
    personal: ClassVar[frozenset[str]] = frozenset({"public_key", "title"})

    user_id: int
    key_uuid: str
    public_key: str  # as sent by the client
    title: str
    fingerprint: str  # SHA256:..., in OpenSSH format
    expires_at: str | None = None  # last valid day: YYYY-MM-DD


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
    """Get an SSH key of a user. Without `key_uuid`, get the key that was added last. Answer: SshKeyView.

    Errors: DEVELOPER_NOT_FOUND, KEY_NOT_FOUND.
    """

    user_id: int
    key_uuid: str | None = None


class ListSshKeys(PageRequest, wire_name="PageSshKeys"):
    """List the SSH keys of a user, oldest first. Answer: Page of SshKeyView. Errors: DEVELOPER_NOT_FOUND."""

    user_id: int
