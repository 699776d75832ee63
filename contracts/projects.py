"""What the projects service takes, answers and records: projects, secrets, credentials and executors."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import PageQuery

SECRET_LENGTH = 64 * 1024
Name = Annotated[str, Field(max_length=255)]
Address = Annotated[str, Field(max_length=2048)]
Prose = Annotated[str, Field(max_length=10_000)]
Value = Annotated[str, Field(max_length=SECRET_LENGTH)]
Ids = Annotated[tuple[int, ...], Field(max_length=1000)]
Names = Annotated[tuple[Name, ...], Field(max_length=100)]

# commands of a project: fields under "filled in" are overwritten by the service


class CreateProject(Command):
    """Answered like any recorded command."""

    name: Name | None = None
    description: Prose | None = None
    repository: Address | None = Field(default=None, repr=False)  # may carry a login
    branch: Name | None = None
    spec_file_path: Address | None = None
    keep_number_build: int | None = None  # nothing: keep all
    allow_concurrent_execution: bool | None = None
    executor_id: int | None = None
    credential_id: int | None = None
    developers_id: Ids = ()
    secrets_id: Ids = ()
    owner_alias: Name | None = None  # nothing: whoever creates it
    alias: Name | None = None  # nothing: from the name, made unique
    protected_branches: Names | None = None  # nothing: the project's own branch


class RecordProject(CreateProject):
    """The recorded half of CreateProject; the service gives it to itself."""

    # filled in
    project_id: int = 0
    sealed_signature_key: str = ""
    sealed_login: str = ""


class RenameProject(Command):
    project_id: int
    name: Name | None = None


class DescribeProject(Command):
    project_id: int
    description: Prose | None = None


class ChangeRepository(Command):
    """The login comes with the address: one without takes a former login away."""

    project_id: int
    repository: Address | None = Field(default=None, repr=False)  # may carry a login
    # filled in
    sealed_login: str = ""


class ChangeBranch(Command):
    project_id: int
    branch: Name | None = None


class ChangeSpecFilePath(Command):
    project_id: int
    spec_file_path: Address | None = None


class ChangeRetention(Command):
    project_id: int
    keep_number_build: int | None = None


class ChangeConcurrency(Command):
    project_id: int
    allow_concurrent_execution: bool | None = None


class ProtectBranches(Command):
    """Names or globs; nothing means the project's own branch again."""

    project_id: int
    protected_branches: Names | None = None


class ChooseDevelopers(Command):
    project_id: int
    developers_id: Ids


class AddDeveloper(Command):
    project_id: int
    developer_id: int


class RemoveDeveloper(Command):
    project_id: int
    developer_id: int


class ChooseSecrets(Command):
    project_id: int
    secrets_id: Ids
    # filled in
    attached: Ids = ()
    detached: Ids = ()


class ChooseCredential(Command):
    project_id: int
    credential_id: int | None = None


class ChooseExecutor(Command):
    project_id: int
    executor_id: int | None = None


class MoveProject(Command):
    """Give it another owner, another alias or both; what is left out stays."""

    project_id: int
    owner_alias: Name | None = None
    alias: Name | None = None


class RenewSignatureKey(Command):
    project_id: int
    # filled in
    sealed_signature_key: str = ""


class DeleteProject(Command):
    project_id: int
    # filled in
    secrets_id: Ids = ()


# events of a project


class ProjectCreated(Event):
    project_id: int
    owner_alias: str
    alias: str
    name: str
    description: str | None = None
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None = None
    allow_concurrent_execution: bool
    executor_id: int
    credential_id: int | None = None
    developers_id: tuple[int, ...] = ()
    protected_branches: tuple[str, ...] | None = None  # nothing: the project's own branch
    sealed_signature_key: str
    sealed_login: str = ""  # `user:password` for the repository; empty: none


class ProjectRenamed(Event):
    project_id: int
    name: str


class ProjectDescribed(Event):
    project_id: int
    description: str | None = None


class ProjectRepositoryChanged(Event):
    project_id: int
    repository: str
    sealed_login: str = ""  # empty: none, also where there was one


class ProjectBranchChanged(Event):
    project_id: int
    branch: str


class ProjectSpecFilePathChanged(Event):
    project_id: int
    spec_file_path: str


class ProjectRetentionChanged(Event):
    project_id: int
    keep_number_build: int | None = None


class ProjectConcurrencyChanged(Event):
    project_id: int
    allow_concurrent_execution: bool


class ProjectBranchesProtected(Event):
    project_id: int
    protected_branches: tuple[str, ...] | None = None


class ProjectDevelopersChosen(Event):
    project_id: int
    developers_id: tuple[int, ...]


class ProjectSecretsChosen(Event):
    """A wish: which project has which secret is recorded in the secrets' own streams."""

    project_id: int
    secrets_id: tuple[int, ...]
    attached: tuple[int, ...] = ()
    detached: tuple[int, ...] = ()


class ProjectCredentialChosen(Event):
    project_id: int
    credential_id: int | None = None


class ProjectExecutorChosen(Event):
    project_id: int
    executor_id: int


class ProjectMoved(Event):
    project_id: int
    owner_alias: str
    alias: str


class ProjectSignatureKeyRenewed(Event):
    project_id: int
    sealed_signature_key: str


class ProjectDeleted(Event):
    project_id: int
    secrets_id: tuple[int, ...] = ()  # they had it, and lose it


# secrets


class CreateSecret(Command):
    name: Name | None = None
    value: str | None = Field(default=None, repr=False, max_length=SECRET_LENGTH)
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
    value: str | None = Field(default=None, repr=False, max_length=SECRET_LENGTH)
    # filled in
    sealed_value: str = ""


class LabelSecret(Command):
    secret_id: int
    env: Name | None = None


class ChangeEscapedCharacters(Command):
    secret_id: int
    escape_char: Name | None = None


class ChooseSecretProjects(Command):
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


class RecordSecretLook(Command):
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


class SecretLabelled(Event):
    secret_id: int
    env: str | None = None


class SecretEscapedCharactersChanged(Event):
    secret_id: int
    escape_char: str | None = None


class SecretProjectsChosen(Event):
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


# credentials


class CreateCredential(Command):
    name: Name | None = None
    ssh_key: str | None = Field(default=None, repr=False, max_length=SECRET_LENGTH)
    # filled in
    credential_id: int = 0
    sealed_ssh_key: str = ""


class RenameCredential(Command):
    credential_id: int
    name: Name | None = None


class ChangeCredentialKey(Command):
    credential_id: int
    ssh_key: str | None = Field(default=None, repr=False, max_length=SECRET_LENGTH)
    # filled in
    sealed_ssh_key: str = ""


class RevealCredential(Command):
    """Answered with the CredentialView with its key; the look is recorded."""

    credential_id: int


class RecordCredentialLook(Command):
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


# executors


class CreateExecutor(Command):
    name: Name | None = None
    driver: Name | None = None
    # filled in
    executor_id: int = 0
    sealed_variables: str = ""


class RenameExecutor(Command):
    executor_id: int
    name: Name | None = None


class ChangeExecutorVariables(Command):
    """Replaces all of them."""

    executor_id: int
    variables: dict[Name, Value] | None = Field(default=None, repr=False, max_length=100)
    # filled in
    sealed_variables: str = ""


class DeleteExecutor(Command):
    executor_id: int


class ExecutorCreated(Event):
    executor_id: int
    name: str
    driver: str
    sealed_variables: str  # one JSON object


class ExecutorRenamed(Event):
    executor_id: int
    name: str


class ExecutorVariablesChanged(Event):
    executor_id: int
    sealed_variables: str


class ExecutorDeleted(Event):
    executor_id: int


# questions and answers about projects


class LastBuild(Message):
    """All of it is nothing before the first finished build."""

    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


class ProjectView(Message):
    id: int
    name: str
    description: str | None
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    signature_key: str | None = Field(repr=False)  # nothing unless asked for
    available_steps: tuple[str, ...]
    credential_id: int | None
    secrets_id: tuple[int, ...]
    builds_id: tuple[int, ...]
    developers_id: tuple[int, ...]
    executor_id: int | None
    last_build: LastBuild
    owner_alias: str
    alias: str
    protected_branches: tuple[str, ...]
    created_at: datetime


class GetProject(Query):
    project_id: int
    reveal: bool = False  # with the signature key in clear


class FindProject(Query):
    """By owner and alias (case does not count)."""

    owner_alias: str
    alias: str


class ListProjects(Query):
    reveal: bool = False  # with the signature keys in clear


class Projects(Message):
    projects: tuple[ProjectView, ...]


class PageProjects(PageQuery):
    """Columns: project_id, project_name, build_last_{exit_code,exit_message,created_at}; id to filter and sort by."""


class GetLaunchSettings(Query):
    """What a build freezes when it is queued."""

    project_id: int


class LaunchSettings(Message):
    project_id: int
    name: str
    owner_alias: str
    alias: str
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    developers_id: tuple[int, ...]
    protected_branches: tuple[str, ...]
    credential_id: int | None


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


# questions and answers about the others


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


class PageSecrets(PageQuery):
    """Columns: secret_id, secret_name, secret_env, secret_scope; id to filter and sort by."""


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


class ExecutorView(Message):
    id: int
    name: str
    driver: str
    variables: dict[str, str] = Field(repr=False)  # values are asterisks unless asked for


class GetExecutor(Query):
    executor_id: int
    reveal: bool = False  # with the values of the variables in clear


class ListExecutors(Query):
    reveal: bool = False  # with the values of the variables in clear


class Executors(Message):
    executors: tuple[ExecutorView, ...]


ProjectCommand = (
    RecordProject
    | RenameProject
    | DescribeProject
    | ChangeRepository
    | ChangeBranch
    | ChangeSpecFilePath
    | ChangeRetention
    | ChangeConcurrency
    | ProtectBranches
    | ChooseDevelopers
    | AddDeveloper
    | RemoveDeveloper
    | ChooseSecrets
    | ChooseCredential
    | ChooseExecutor
    | MoveProject
    | RenewSignatureKey
    | DeleteProject
)
ProjectEvent = (
    ProjectCreated
    | ProjectRenamed
    | ProjectDescribed
    | ProjectRepositoryChanged
    | ProjectBranchChanged
    | ProjectSpecFilePathChanged
    | ProjectRetentionChanged
    | ProjectConcurrencyChanged
    | ProjectBranchesProtected
    | ProjectDevelopersChosen
    | ProjectSecretsChosen
    | ProjectCredentialChosen
    | ProjectExecutorChosen
    | ProjectMoved
    | ProjectSignatureKeyRenewed
    | ProjectDeleted
)
SecretCommand = (
    CreateSecret
    | RenameSecret
    | ChangeSecretValue
    | LabelSecret
    | ChangeEscapedCharacters
    | ChooseSecretProjects
    | AttachSecret
    | DetachSecret
    | RecordSecretLook
    | DeleteSecret
)
SecretEvent = (
    SecretCreated
    | SecretRenamed
    | SecretValueChanged
    | SecretLabelled
    | SecretEscapedCharactersChanged
    | SecretProjectsChosen
    | SecretAttached
    | SecretDetached
    | SecretRevealed
    | SecretDeleted
)
CredentialCommand = CreateCredential | RenameCredential | ChangeCredentialKey | RecordCredentialLook | DeleteCredential
CredentialEvent = CredentialCreated | CredentialRenamed | CredentialKeyChanged | CredentialRevealed | CredentialDeleted
ExecutorCommand = CreateExecutor | RenameExecutor | ChangeExecutorVariables | DeleteExecutor
ExecutorEvent = ExecutorCreated | ExecutorRenamed | ExecutorVariablesChanged | ExecutorDeleted
