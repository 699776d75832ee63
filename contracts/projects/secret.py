"""Messages about secrets, and about the secrets that a job receives."""

from typing import ClassVar

from pydantic import Field

from contracts.messages import ChangedFields, Command, Event, Message, Query, Sensitive
from contracts.paging import FilteredPageRequest, PageRequest
from contracts.projects.fields import MAX_SECRET_LENGTH, Ids, Name


class CreateSecret(Command):
    """Create a secret. Errors: SECRET_NAME_REQUIRED, SECRET_NAME_INVALID, SECRET_VALUE_REQUIRED, PROJECT_NOT_FOUND."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"secret_id", "sealed_value"})

    name: Name | None = None
    value: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    env: Name | None = None
    escape_char: Name | None = None
    projects_id: Ids = ()  # empty: every project may use the secret


class RenameSecret(Command):
    """Change the name of a secret, which is also the name of the variable in jobs.

    Errors: SECRET_NOT_FOUND, SECRET_NAME_REQUIRED, SECRET_NAME_INVALID.
    """

    secret_id: int
    name: Name | None = None


class ChangeSecretValue(Command):
    """Change the value of a secret. Errors: SECRET_NOT_FOUND, SECRET_VALUE_REQUIRED."""

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_value"})

    secret_id: int
    value: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)


class SetSecretEnvironment(Command, wire_name="LabelSecret"):
    """Set the environment label of a secret. Errors: SECRET_NOT_FOUND."""

    secret_id: int
    env: Name | None = None


class ChangeEscapedCharacters(Command):
    """Set the escaped characters of a secret. They have no effect on its value. Errors: SECRET_NOT_FOUND."""

    secret_id: int
    escape_char: Name | None


class SetSecretProjects(Command, wire_name="ChooseSecretProjects"):
    """Replace the projects that may use a secret. Errors: SECRET_NOT_FOUND, PROJECT_NOT_FOUND."""

    secret_id: int
    projects_id: Ids  # empty: every project may use the secret


class RevealSecret(Command):
    """Get a secret with its value. The access is recorded. Answer: SecretView. Errors: SECRET_NOT_FOUND."""

    secret_id: int


class DeleteSecret(Command):
    """Delete a secret. Errors: SECRET_NOT_FOUND, and SECRET_PROJECTS_NOT_EMPTY if it is attached to a project."""

    secret_id: int


class SecretCreated(Event):
    secret_id: int
    name: str
    sealed_value: str
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()  # empty: every project may use the secret


class SecretSettingsChanged(ChangedFields, Event):
    """Settings of a secret changed. The event contains only the changed settings."""

    secret_id: int
    name: str = ""
    env: str | None = None
    escape_char: str | None = None


class SecretRenamed(Event):
    """The name of a secret changed. Only releases up to 0.2.0 recorded this event, later ones SecretSettingsChanged."""

    secret_id: int
    name: str


class SecretValueChanged(Event):
    secret_id: int
    sealed_value: str


class SecretEnvironmentChanged(Event, wire_name="SecretLabelled"):
    """The environment label of a secret changed. Only releases up to 0.2.0 recorded this event."""

    secret_id: int
    env: str | None = None


class SecretEscapedCharactersChanged(Event):
    """The escaped characters of a secret changed. Only releases up to 0.2.0 recorded this event."""

    secret_id: int
    escape_char: str | None = None


class SecretProjectsSet(Event, wire_name="SecretProjectsChosen"):
    """The projects that may use a secret were replaced."""

    secret_id: int
    projects_id: tuple[int, ...]  # empty: every project may use the secret


class SecretAttached(Event):
    secret_id: int
    project_id: int


class SecretDetached(Event):
    """A secret was detached from a project. A secret that is detached from its last project is used by no project."""

    secret_id: int
    project_id: int


class SecretRevealed(Event):
    """The actor read the value of a secret."""

    secret_id: int


class SecretDeleted(Event):
    """A secret was deleted. Its value can no longer be decrypted."""

    secret_id: int


class SecretView(Message):
    id: int
    name: str
    value: str | None = Field(repr=False)  # only in the answer to RevealSecret
    env: str | None
    escape_char: str | None
    projects_id: tuple[int, ...]
    is_global: bool


class GetSecret(Query):
    """Get a secret without its value. Answer: SecretView. Errors: SECRET_NOT_FOUND."""

    secret_id: int


class ListSecrets(PageRequest):
    """List the secrets that the actor may see, without their values, by id. Answer: Page of SecretView.

    The actor may see secrets that every project may use, and those of projects that the actor may see.
    """


class ListSecretsPage(FilteredPageRequest, wire_name="PageSecrets"):
    """List the secrets that the actor may see. Answer: Page.

    Columns to filter and sort by: secret_id, secret_name, secret_env, secret_scope, id.
    """


class GetJobSecrets(Query):
    """Get the secrets for a job of the project. Only the builds service may send this query. Answer: JobSecrets.

    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
    repository: str | None = None  # the URL at launch; None, or not the project's URL: no git login is returned


class SecretValue(Message):
    name: str
    value: Sensitive


class JobSecrets(Message):
    secrets: tuple[SecretValue, ...]  # a project's secret overrides a global one of the same name
    ssh_key: str | None = Field(repr=False)
    repository_login: str | None = Field(default=None, repr=False)  # user:password, or a token
    owner_alias: str = ""  # current name of the project's owner; empty: answered by release 0.2.0


SecretEvent = (
    SecretCreated
    | SecretSettingsChanged
    | SecretRenamed
    | SecretValueChanged
    | SecretEnvironmentChanged
    | SecretEscapedCharactersChanged
    | SecretProjectsSet
    | SecretAttached
    | SecretDetached
    | SecretRevealed
    | SecretDeleted
)
