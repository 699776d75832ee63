"""Messages about projects. The service overwrites command fields under "filled in"."""

from datetime import datetime

from pydantic import Field

from contracts.messages import Command, Event, Message, Query
from contracts.paging import PageQuery
from contracts.projects.fields import Ids, Name, Names, Prose, UrlOrPath


class CreateProject(Command):
    """Create a project."""

    name: Name | None = None
    description: Prose | None = None
    repository: UrlOrPath | None = Field(default=None, repr=False)  # URL, may contain a login
    branch: Name | None = None
    spec_file_path: UrlOrPath | None = None
    keep_number_build: int | None = None  # None: keep all builds
    allow_concurrent_execution: bool | None = None
    executor_id: int | None = None
    credential_id: int | None = None
    developers_id: Ids = ()
    secrets_id: Ids = ()
    owner_alias: Name | None = None  # None: the actor
    alias: Name | None = None  # None: derived from the name
    protected_branches: Names | None = None  # None: the project's branch


class RecordProject(CreateProject):
    """Record a created project. Internal part of CreateProject."""

    # filled in
    project_id: int = 0
    owner_user_id: int | None = None
    company_id: int | None = None
    sealed_signature_key: str = ""
    sealed_login: str = ""


class RenameProject(Command):
    """Change the name of a project."""

    project_id: int
    name: Name | None = None


class DescribeProject(Command):
    """Change the description of a project."""

    project_id: int
    description: Prose | None = None


class ChangeRepository(Command):
    """Change the repository URL. A URL without a login removes a stored login."""

    project_id: int
    repository: UrlOrPath | None = Field(default=None, repr=False)  # URL, may contain a login
    # filled in
    sealed_login: str = ""


class ChangeBranch(Command):
    """Change the branch of a project."""

    project_id: int
    branch: Name | None = None


class ChangeSpecFilePath(Command):
    """Change the path of the spec file."""

    project_id: int
    spec_file_path: UrlOrPath | None = None


class ChangeRetention(Command):
    """Change how many builds are kept."""

    project_id: int
    keep_number_build: int | None = None


class ChangeConcurrency(Command):
    """Allow or forbid concurrent builds."""

    project_id: int
    allow_concurrent_execution: bool | None = None


class ProtectBranches(Command):
    """Set the protected branches, as names or globs. Without any, the project's branch is protected."""

    project_id: int
    protected_branches: Names | None = None


class SetProjectDevelopers(Command, wire_name="ChooseDevelopers"):
    """Replace the developers of a project."""

    project_id: int
    developers_id: Ids


class AddDeveloper(Command):
    """Add a developer to a project."""

    project_id: int
    developer_id: int


class RemoveDeveloper(Command):
    """Remove a developer from a project."""

    project_id: int
    developer_id: int


class SetProjectSecrets(Command, wire_name="ChooseSecrets"):
    """Replace the secrets of a project."""

    project_id: int
    secrets_id: Ids
    # filled in
    attached: Ids = ()
    detached: Ids = ()


class SetProjectCredential(Command, wire_name="ChooseCredential"):
    """Set the credential of a project."""

    project_id: int
    credential_id: int | None = None


class SetProjectExecutor(Command, wire_name="ChooseExecutor"):
    """Set the executor of a project."""

    project_id: int
    executor_id: int | None = None


class MoveProject(Command):
    """Change the owner or alias of a project. Omitted fields stay unchanged."""

    project_id: int
    owner_alias: Name | None = None
    alias: Name | None = None
    # filled in
    owner_user_id: int | None = None
    company_id: int | None = None


class RenewSignatureKey(Command):
    """Generate a new webhook signature key."""

    project_id: int
    # filled in
    sealed_signature_key: str = ""


class DeleteProject(Command):
    """Delete a project."""

    project_id: int
    # filled in
    secrets_id: Ids = ()


class ProjectCreated(Event):
    """A project was created."""

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
    protected_branches: tuple[str, ...] | None = None  # None: the project's branch
    sealed_signature_key: str
    sealed_login: str = ""  # `user:password` for the repository; empty: none
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner


class ProjectRenamed(Event):
    """The name of a project changed."""

    project_id: int
    name: str


class ProjectDescribed(Event):
    """The description of a project changed."""

    project_id: int
    description: str | None = None


class ProjectRepositoryChanged(Event):
    """The repository of a project changed."""

    project_id: int
    repository: str
    sealed_login: str = ""  # empty: none, a former login is removed


class ProjectBranchChanged(Event):
    """The branch of a project changed."""

    project_id: int
    branch: str


class ProjectSpecFilePathChanged(Event):
    """The path of a project's spec file changed."""

    project_id: int
    spec_file_path: str


class ProjectRetentionChanged(Event):
    """The number of kept builds changed."""

    project_id: int
    keep_number_build: int | None = None


class ProjectConcurrencyChanged(Event):
    """Concurrent builds of a project were allowed or forbidden."""

    project_id: int
    allow_concurrent_execution: bool


class ProjectBranchesProtected(Event):
    """The protected branches of a project changed."""

    project_id: int
    protected_branches: tuple[str, ...] | None = None


class ProjectDevelopersSet(Event, wire_name="ProjectDevelopersChosen"):
    """The developers of a project changed."""

    project_id: int
    developers_id: tuple[int, ...]


class ProjectSecretsSet(Event, wire_name="ProjectSecretsChosen"):
    """The secrets of a project were set. The streams of the secrets record the change, too."""

    project_id: int
    secrets_id: tuple[int, ...]
    attached: tuple[int, ...] = ()
    detached: tuple[int, ...] = ()


class ProjectCredentialSet(Event, wire_name="ProjectCredentialChosen"):
    """The credential of a project changed."""

    project_id: int
    credential_id: int | None = None


class ProjectExecutorSet(Event, wire_name="ProjectExecutorChosen"):
    """The executor of a project changed."""

    project_id: int
    executor_id: int


class ProjectMoved(Event):
    """The owner or alias of a project changed."""

    project_id: int
    owner_alias: str
    alias: str
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner


class ProjectSignatureKeyRenewed(Event):
    """The webhook signature key of a project was renewed."""

    project_id: int
    sealed_signature_key: str


class ProjectDeleted(Event):
    """A project was deleted."""

    project_id: int
    secrets_id: tuple[int, ...] = ()  # secrets that are detached from it


class LastBuild(Message):
    """The last finished build. All fields are None before the first."""

    exit_code: int | None = None
    exit_message: str | None = None
    created_at: datetime | None = None


class ProjectView(Message):
    """A project."""

    id: int
    name: str
    description: str | None
    repository: str
    branch: str
    spec_file_path: str
    keep_number_build: int | None
    allow_concurrent_execution: bool
    signature_key: str | None = Field(repr=False)  # None unless revealed
    available_steps: tuple[str, ...]
    credential_id: int | None
    secrets_id: tuple[int, ...]
    builds_id: tuple[int, ...]
    developers_id: tuple[int, ...]
    executor_id: int | None
    last_build: LastBuild
    owner_alias: str
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner
    alias: str
    protected_branches: tuple[str, ...]
    created_at: datetime


class GetProject(Query):
    """Get a project by id. Answer: ProjectView."""

    project_id: int
    reveal: bool = False  # include the signature key


class GetProjectByAlias(Query, wire_name="FindProject"):
    """Get a project by owner and alias (case-insensitive). Answer: ProjectView."""

    owner_alias: str
    alias: str


class ListProjects(Query):
    """List all projects. Answer: Projects."""

    reveal: bool = False  # include the signature keys


class Projects(Message):
    """A list of projects."""

    projects: tuple[ProjectView, ...]


class GetProjectCount(Query, wire_name="CountProjects"):
    """Get the number of projects that a company owns. Answer: ProjectCount."""

    company_id: int


class ProjectCount(Message):
    """A number of projects."""

    count: int


class ListProjectsPage(PageQuery, wire_name="PageProjects"):
    """List projects. Columns: project_id, project_name, build_last_{exit_code,exit_message,created_at}.

    Filters and order also by id.
    """


class GetLaunchSettings(Query):
    """Get the settings that a build copies at launch, and whether the actor may launch it. Answer: LaunchSettings."""

    project_id: int


class LaunchSettings(Message):
    """The project settings that a build copies at launch."""

    allowed: bool  # whether the actor may launch builds
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
