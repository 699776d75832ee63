"""A project: commands, events, questions and answers. Fields under "filled in" are overwritten by the service."""

from datetime import datetime

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageQuery
from contracts.projects.fields import Ids, Name, Names, Prose, UrlOrPath


class CreateProject(Command):
    """Answered like any recorded command."""

    name: Name | None = None
    description: Prose | None = None
    repository: UrlOrPath | None = Field(default=None, repr=False)  # may carry a login
    branch: Name | None = None
    spec_file_path: UrlOrPath | None = None
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
    owner_user_id: int | None = None
    company_id: int | None = None
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
    repository: UrlOrPath | None = Field(default=None, repr=False)  # may carry a login
    # filled in
    sealed_login: str = ""


class ChangeBranch(Command):
    project_id: int
    branch: Name | None = None


class ChangeSpecFilePath(Command):
    project_id: int
    spec_file_path: UrlOrPath | None = None


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


class SetProjectDevelopers(Command, wire_name="ChooseDevelopers"):
    project_id: int
    developers_id: Ids


class AddDeveloper(Command):
    project_id: int
    developer_id: int


class RemoveDeveloper(Command):
    project_id: int
    developer_id: int


class SetProjectSecrets(Command, wire_name="ChooseSecrets"):
    project_id: int
    secrets_id: Ids
    # filled in
    attached: Ids = ()
    detached: Ids = ()


class SetProjectCredential(Command, wire_name="ChooseCredential"):
    project_id: int
    credential_id: int | None = None


class SetProjectExecutor(Command, wire_name="ChooseExecutor"):
    project_id: int
    executor_id: int | None = None


class MoveProject(Command):
    """Give it another owner, another alias or both; what is left out stays."""

    project_id: int
    owner_alias: Name | None = None
    alias: Name | None = None
    # filled in
    owner_user_id: int | None = None
    company_id: int | None = None


class RenewSignatureKey(Command):
    project_id: int
    # filled in
    sealed_signature_key: str = ""


class DeleteProject(Command):
    project_id: int
    # filled in
    secrets_id: Ids = ()


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
    owner_user_id: int | None = None  # the owner is this user
    company_id: int | None = None  # or this company


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


class ProjectDevelopersSet(Event, wire_name="ProjectDevelopersChosen"):
    project_id: int
    developers_id: tuple[int, ...]


class ProjectSecretsSet(Event, wire_name="ProjectSecretsChosen"):
    """A wish: which project has which secret is recorded in the secrets' own streams."""

    project_id: int
    secrets_id: tuple[int, ...]
    attached: tuple[int, ...] = ()
    detached: tuple[int, ...] = ()


class ProjectCredentialSet(Event, wire_name="ProjectCredentialChosen"):
    project_id: int
    credential_id: int | None = None


class ProjectExecutorSet(Event, wire_name="ProjectExecutorChosen"):
    project_id: int
    executor_id: int


class ProjectMoved(Event):
    project_id: int
    owner_alias: str
    alias: str
    owner_user_id: int | None = None  # the owner is this user
    company_id: int | None = None  # or this company


class ProjectSignatureKeyRenewed(Event):
    project_id: int
    sealed_signature_key: str


class ProjectDeleted(Event):
    project_id: int
    secrets_id: tuple[int, ...] = ()  # they had it, and lose it


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
    owner_user_id: int | None = None  # the owner is this user
    company_id: int | None = None  # or this company
    alias: str
    protected_branches: tuple[str, ...]
    created_at: datetime


class GetProject(Query):
    project_id: int
    reveal: bool = False  # with the signature key in clear


class GetProjectByAlias(Query, wire_name="FindProject"):
    """By owner and alias (case does not count)."""

    owner_alias: str
    alias: str


class ListProjects(Query):
    reveal: bool = False  # with the signature keys in clear


class Projects(Message):
    projects: tuple[ProjectView, ...]


class GetProjectCount(Query, wire_name="CountProjects"):
    """How many projects the company owns."""

    company_id: int


class ProjectCount(Message):
    count: int


class ListProjectsPage(PageQuery, wire_name="PageProjects"):
    """Columns: project_id, project_name, build_last_{exit_code,exit_message,created_at}; id to filter and sort by."""


class GetLaunchSettings(Query):
    """What a build freezes when it is queued, and whether whoever asks may launch it."""

    project_id: int


class LaunchSettings(Message):
    allowed: bool  # whoever asked may launch
    project_id: int
    name: str
    owner_alias: str
    company_id: int | None = None
    alias: str
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    developers_id: tuple[int, ...]
    protected_branches: tuple[str, ...]
    credential_id: int | None


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
    | SetProjectDevelopers
    | AddDeveloper
    | RemoveDeveloper
    | SetProjectSecrets
    | SetProjectCredential
    | SetProjectExecutor
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
    | ProjectDevelopersSet
    | ProjectSecretsSet
    | ProjectCredentialSet
    | ProjectExecutorSet
    | ProjectMoved
    | ProjectSignatureKeyRenewed
    | ProjectDeleted
)
