"""The credential aggregate: a named private SSH key. Only the encrypted key is stored."""

from dataclasses import dataclass, replace
from typing import assert_never

from contracts.projects import (
    CredentialCreated,
    CredentialDeleted,
    CredentialEvent,
    CredentialKeyChanged,
    CredentialRenamed,
    CredentialRevealed,
    DeleteCredential,
    RenameCredential,
    RevealCredential,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.projects.domain.internal_commands import AddCredential, SetCredentialKey
from services.projects.domain.validation import require_line

CredentialCommand = AddCredential | RenameCredential | SetCredentialKey | RevealCredential | DeleteCredential


@dataclass(frozen=True, slots=True)
class Credential:
    exists: bool = False
    deleted: bool = False
    name: str = ""


def decide(credential: Credential, command: CredentialCommand) -> list[CredentialEvent]:
    id_ = command.credential_id
    match credential.exists, command:
        case False, AddCredential(name=name, sealed_ssh_key=sealed) if not credential.deleted:
            return [CredentialCreated(credential_id=id_, name=validate_name(name), sealed_ssh_key=sealed)]
        case False, _:
            raise RequestRejected("CREDENTIAL_NOT_FOUND")
        case _, RenameCredential(name=name):
            name = validate_name(name)
            return [CredentialRenamed(credential_id=id_, name=name)] if name != credential.name else []
        case _, SetCredentialKey(sealed_ssh_key=sealed):
            return [CredentialKeyChanged(credential_id=id_, sealed_ssh_key=sealed)]
        case _, RevealCredential():
            return [CredentialRevealed(credential_id=id_)]
        case _, DeleteCredential():
            return [CredentialDeleted(credential_id=id_)]
        case _:
            raise RequestRejected("CONFLICT", "This credential already exists.")


def evolve(credential: Credential, event: CredentialEvent) -> Credential:
    match event:
        case CredentialCreated(name=name):
            return Credential(True, False, name)
        case CredentialRenamed(name=name):
            return replace(credential, name=name)
        case CredentialDeleted():
            return Credential(deleted=True)
        case CredentialKeyChanged() | CredentialRevealed():
            return credential
        case _:
            assert_never(event)


def validate_name(text: str | None) -> str:
    """Return the trimmed name. An empty name is valid, as in Free Commit. A missing name is not."""
    return require_line(text, "CREDENTIAL_NAME_REQUIRED") if text is None or text.strip() else ""


credential_decider = Decider[CredentialCommand, Credential, CredentialEvent](
    commands=(AddCredential, RenameCredential, SetCredentialKey, RevealCredential, DeleteCredential),
    stream=lambda command: f"credential-{command.credential_id}",
    initial=Credential(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddCredential,),
)
