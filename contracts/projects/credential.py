"""Messages about credentials: SSH keys for reading repositories."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageRequest
from contracts.projects.fields import MAX_SECRET_LENGTH, Name


class CreateCredential(Command):
    """Create a credential. Errors: CREDENTIAL_NAME_REQUIRED, CREDENTIAL_SSH_KEY_REQUIRED."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"credential_id", "sealed_ssh_key"})

    name: Name | None = None
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)


class RenameCredential(Command):
    """Change the name of a credential, which may be empty. Errors: CREDENTIAL_NOT_FOUND, CREDENTIAL_NAME_REQUIRED."""

    credential_id: int
    name: Name | None = None


class ChangeCredentialKey(Command):
    """Change the SSH key of a credential. Errors: CREDENTIAL_NOT_FOUND, CREDENTIAL_SSH_KEY_REQUIRED."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_ssh_key"})

    credential_id: int
    ssh_key: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)


class RevealCredential(Command):
    """Get a credential with its key. The access is recorded. Answer: CredentialView. Errors: CREDENTIAL_NOT_FOUND."""

    credential_id: int


class DeleteCredential(Command):
    """Delete a credential. Errors: CREDENTIAL_NOT_FOUND, and CREDENTIAL_IN_USE if a project uses the credential."""

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
    """The actor read the key of a credential."""

    credential_id: int


class CredentialDeleted(Event):
    """A credential was deleted. Its key can no longer be decrypted."""

    credential_id: int


class CredentialView(Message):
    id: int
    name: str
    ssh_key: str | None = Field(repr=False)  # only in the answer to RevealCredential


class GetCredential(Query):
    """Get a credential without its key. Answer: CredentialView. Errors: CREDENTIAL_NOT_FOUND."""

    credential_id: int


class ListCredentials(PageRequest):
    """List all credentials without their keys, by id. Answer: Page of CredentialView."""


CredentialEvent = CredentialCreated | CredentialRenamed | CredentialKeyChanged | CredentialRevealed | CredentialDeleted
