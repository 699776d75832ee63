"""Messages about credentials: SSH keys for reading repositories."""

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.projects.fields import MAX_SECRET_LENGTH, Name


class CreateCredential(Command):
    """Create a credential."""

    name: Name | None = None
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    # filled in by the service
    credential_id: int = 0
    sealed_ssh_key: str = ""


class RenameCredential(Command):
    """Change the name of a credential."""

    credential_id: int
    name: Name | None = None


class ChangeCredentialKey(Command):
    """Change the SSH key of a credential."""

    credential_id: int
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    # filled in by the service
    sealed_ssh_key: str = ""


class RevealCredential(Command):
    """Get a credential with its key. The access is recorded. Answer: CredentialView."""

    credential_id: int


class RecordCredentialAccess(Command, wire_name="RecordCredentialLook"):
    """Record the access to a credential's key. Internal part of RevealCredential."""

    credential_id: int


class DeleteCredential(Command):
    """Delete a credential."""

    credential_id: int


class CredentialCreated(Event):
    """A credential was created."""

    credential_id: int
    name: str
    sealed_ssh_key: str


class CredentialRenamed(Event):
    """The name of a credential changed."""

    credential_id: int
    name: str


class CredentialKeyChanged(Event):
    """The SSH key of a credential changed."""

    credential_id: int
    sealed_ssh_key: str


class CredentialRevealed(Event):
    """The actor read the key of a credential."""

    credential_id: int


class CredentialDeleted(Event):
    """A credential was deleted."""

    credential_id: int


class CredentialView(Message):
    id: int
    name: str
    ssh_key: str | None = Field(repr=False)  # only in the answer to RevealCredential


class GetCredential(Query):
    """Get a credential without its key. Answer: CredentialView."""

    credential_id: int


class ListCredentials(Query):
    """List all credentials without their keys. Answer: Credentials."""


class Credentials(Message):
    credentials: tuple[CredentialView, ...]


CredentialCommand = (
    CreateCredential | RenameCredential | ChangeCredentialKey | RecordCredentialAccess | DeleteCredential
)
CredentialEvent = CredentialCreated | CredentialRenamed | CredentialKeyChanged | CredentialRevealed | CredentialDeleted
