"""Credentials: the SSH keys that read repositories."""

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import MAX_SECRET_LENGTH, Name


class CreateCredential(Command):
    name: Name | None = None
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    # filled in
    credential_id: int = 0
    sealed_ssh_key: str = ""


class RenameCredential(Command):
    credential_id: int
    name: Name | None = None


class ChangeCredentialKey(Command):
    credential_id: int
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    # filled in
    sealed_ssh_key: str = ""


class RevealCredential(Command):
    """Answered with the CredentialView with its key; the look is recorded."""

    credential_id: int


class RecordCredentialAccess(Command, wire_name="RecordCredentialLook"):
    """The recorded half of RevealCredential; the service gives it to itself."""

    credential_id: int


class DeleteCredential(Command):
    credential_id: int


class CredentialCreated(Event):
    credential_id: int
    name: str
    sealed_ssh_key: str


class CredentialRenamed(Event):
    credential_id: int
    name: str


class CredentialKeyChanged(Event):
    credential_id: int
    sealed_ssh_key: str


class CredentialRevealed(Event):
    credential_id: int


class CredentialDeleted(Event):
    credential_id: int


class CredentialView(Message):
    id: int
    name: str
    ssh_key: str | None = Field(repr=False)  # only in the answer to RevealCredential


class GetCredential(Query):
    credential_id: int


class ListCredentials(Query):
    pass


class Credentials(Message):
    credentials: tuple[CredentialView, ...]


CredentialCommand = (
    CreateCredential | RenameCredential | ChangeCredentialKey | RecordCredentialAccess | DeleteCredential
)
CredentialEvent = CredentialCreated | CredentialRenamed | CredentialKeyChanged | CredentialRevealed | CredentialDeleted
