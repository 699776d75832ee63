"""Secrets: who may have them, and what a job receives."""

from pydantic import Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import PageQuery
from contracts.projects.fields import MAX_SECRET_LENGTH, Ids, Name


class CreateSecret(Command):
    name: Name | None = None
    value: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    env: Name | None = None
    escape_char: Name | None = None
    projects_id: Ids = ()  # empty: global
    # filled in
    secret_id: int = 0
    sealed_value: str = ""


class RenameSecret(Command):
    secret_id: int
    name: Name | None = None


class ChangeSecretValue(Command):
    secret_id: int
    value: str | None = Field(default=None, repr=False, max_length=MAX_SECRET_LENGTH)
    # filled in
    sealed_value: str = ""


class SetSecretEnvironment(Command, wire_name="LabelSecret"):
    secret_id: int
    env: Name | None = None


class ChangeEscapedCharacters(Command):
    secret_id: int
    escape_char: Name | None


class SetSecretProjects(Command, wire_name="ChooseSecretProjects"):
    secret_id: int
    projects_id: Ids  # empty: global


class AttachSecret(Command):
    secret_id: int
    project_id: int


class DetachSecret(Command):
    secret_id: int
    project_id: int


class RevealSecret(Command):
    """Answered with the SecretView with its value; the look is recorded."""

    secret_id: int


class RecordSecretAccess(Command, wire_name="RecordSecretLook"):
    """The recorded half of RevealSecret; the service gives it to itself."""

    secret_id: int


class DeleteSecret(Command):
    secret_id: int


class SecretCreated(Event):
    secret_id: int
    name: str
    sealed_value: str
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()  # empty: global


class SecretRenamed(Event):
    secret_id: int
    name: str


class SecretValueChanged(Event):
    secret_id: int
    sealed_value: str


class SecretEnvironmentChanged(Event, wire_name="SecretLabelled"):
    secret_id: int
    env: str | None = None


class SecretEscapedCharactersChanged(Event):
    secret_id: int
    escape_char: str | None = None


class SecretProjectsSet(Event, wire_name="SecretProjectsChosen"):
    secret_id: int
    projects_id: tuple[int, ...]  # empty: global


class SecretAttached(Event):
    secret_id: int
    project_id: int


class SecretDetached(Event):
    """A secret whose last project went this way belongs to nobody."""

    secret_id: int
    project_id: int


class SecretRevealed(Event):
    secret_id: int


class SecretDeleted(Event):
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
    secret_id: int


class ListSecrets(Query):
    pass


class Secrets(Message):
    secrets: tuple[SecretView, ...]


class ListSecretsPage(PageQuery, wire_name="PageSecrets"):
    """Columns: secret_id, secret_name, secret_env, secret_scope; id to filter and sort by."""


class GetJobSecrets(Query):
    """What a job of the project receives when a runner takes it; nobody else may ask."""

    project_id: int
    repository: str | None = None  # as it was at launch: the login of another one is not given


class SecretValue(Message):
    name: str
    value: Sensitive


class JobSecrets(Message):
    secrets: tuple[SecretValue, ...]  # a project's secret hides a global one of the same name
    ssh_key: str | None = Field(repr=False)
    repository_login: str | None = Field(default=None, repr=False)  # user:password, or a lone token


SecretCommand = (
    CreateSecret
    | RenameSecret
    | ChangeSecretValue
    | SetSecretEnvironment
    | ChangeEscapedCharacters
    | SetSecretProjects
    | AttachSecret
    | DetachSecret
    | RecordSecretAccess
    | DeleteSecret
)
SecretEvent = (
    SecretCreated
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
