"""Read models of projects, secrets, credentials, executors and memberships."""

from datetime import UTC, datetime

from contracts.messages import ReadModelRow
from contracts.projects import (
    BuildTriggers,
    CredentialCreated,
    CredentialDeleted,
    CredentialEvent,
    CredentialRevealed,
    DeveloperProjectsSet,
    ExecutorCreated,
    ExecutorDeleted,
    ExecutorEvent,
    ForgeKind,
    ProjectAccess,
    ProjectCreated,
    ProjectDeleted,
    ProjectEvent,
    ProjectSecretsSet,
    RetentionLimits,
    SecretAttached,
    SecretCreated,
    SecretDeleted,
    SecretDetached,
    SecretEvent,
    SecretProjectsSet,
    SecretRevealed,
)
from libs.eventstore.decider import Category, PreviousRow, RecordedEvent
from services.projects.domain.credential import credential_decider
from services.projects.domain.executor import executor_decider
from services.projects.domain.membership import membership_decider
from services.projects.domain.project import project_decider
from services.projects.domain.secret import add_project, remove_project, secret_decider

EPOCH = datetime.fromtimestamp(0, UTC)


class ProjectRow(ProjectAccess, RetentionLimits, BuildTriggers):
    id: int = 0
    owner_alias: str = ""
    owner_key: str = ""  # `owner_alias` in lower case
    alias: str = ""
    name: str = ""
    description: str | None = None
    repository: str = ""
    branch: str = ""
    spec_file_path: str = ""
    keep_number_build: int | None = None
    allow_concurrent_execution: bool = False
    executor_id: int | None = None
    credential_id: int | None = None
    protected_branches: tuple[str, ...] | None = None
    sealed_signature_key: str = ""
    sealed_login: str = ""  # encrypted login for the repository; empty: no login
    badges: bool = False
    forge_kind: ForgeKind = ForgeKind.NONE
    forge_api_url: str = ""
    forge_secret: str = ""
    created_at: datetime = EPOCH

    @property
    def effective_protected_branches(self) -> tuple[str, ...]:
        """The names and patterns of the protected branches.

        Default: the branch of the project, or `main` and `master` if it builds every branch.
        """
        if self.protected_branches is not None:
            return self.protected_branches
        return ("main", "master") if self.branch == "*" else (self.branch,)


def apply_project_event(row: ProjectRow, recorded: RecordedEvent[ProjectEvent]) -> ProjectRow:
    match recorded.event:
        case ProjectDeleted():
            return ProjectRow()
        case ProjectSecretsSet():
            return row
        case ProjectCreated(project_id=project_id) as event:
            row = ProjectRow(id=project_id, created_at=recorded.at)
        case event:
            pass
    # all other events use the field names of the row
    row = row.replace(**event.model_dump(exclude={"project_id"}))
    return row.replace(owner_key=row.owner_alias.lower())


project_category = Category(
    "project",
    project_decider,
    ProjectRow(),
    apply_project_event,
    row_version=3,
    previous_row=PreviousRow(2, lambda row: row),
    indexes=(
        ("id",),
        ("name", "id"),
        ("owner_key", "alias"),
        ("owner_user_id",),
        ("company_id",),
        ("developers_id",),
        ("readers_id",),
        ("maintainers_id",),
        ("credential_id",),
        ("executor_id",),
        ("badges", "id"),
    ),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)


class SecretRow(ReadModelRow):
    id: int = 0
    name: str = ""
    sealed_value: str = ""
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()
    scope: str = "PRIVATE"  # PUBLIC: available to every project
    created_at: datetime = EPOCH


def apply_secret_event(row: SecretRow, recorded: RecordedEvent[SecretEvent]) -> SecretRow:
    match recorded.event:
        case SecretDeleted():
            return SecretRow()
        case SecretRevealed():
            return row
        case SecretAttached(project_id=project_id):
            return row.replace(projects_id=add_project(row.projects_id, project_id), scope="PRIVATE")
        case SecretDetached(project_id=project_id):
            return row.replace(projects_id=remove_project(row.projects_id, project_id))
        case SecretProjectsSet(projects_id=ids):
            return row.replace(projects_id=ids, scope="PRIVATE" if ids else "PUBLIC")
        case SecretCreated(secret_id=secret_id, projects_id=ids) as event:
            row = SecretRow(id=secret_id, scope="PRIVATE" if ids else "PUBLIC", created_at=recorded.at)
        case event:
            pass
    return row.replace(**event.model_dump(exclude={"secret_id"}))


secret_category = Category(
    "secret",
    secret_decider,
    SecretRow(),
    apply_secret_event,
    indexes=(("id",), ("name", "id"), ("env", "id"), ("projects_id",), ("scope", "id")),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)


class CredentialRow(ReadModelRow):
    id: int = 0
    name: str = ""
    sealed_ssh_key: str = ""
    created_at: datetime = EPOCH


def apply_credential_event(row: CredentialRow, recorded: RecordedEvent[CredentialEvent]) -> CredentialRow:
    match recorded.event:
        case CredentialDeleted():
            return CredentialRow()
        case CredentialRevealed():
            return row
        case CredentialCreated(credential_id=credential_id) as event:
            row = CredentialRow(id=credential_id, created_at=recorded.at)
        case event:
            pass
    return row.replace(**event.model_dump(exclude={"credential_id"}))


credential_category = Category(
    "credential",
    credential_decider,
    CredentialRow(),
    apply_credential_event,
    indexes=(("id",),),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)


class ExecutorRow(ReadModelRow):
    id: int = 0
    name: str = ""
    driver: str = ""
    sealed_variables: str = ""  # one JSON object, encrypted
    created_at: datetime = EPOCH


def apply_executor_event(row: ExecutorRow, recorded: RecordedEvent[ExecutorEvent]) -> ExecutorRow:
    match recorded.event:
        case ExecutorDeleted():
            return ExecutorRow()
        case ExecutorCreated(executor_id=executor_id) as event:
            row = ExecutorRow(id=executor_id, created_at=recorded.at)
        case event:
            pass
    return row.replace(**event.model_dump(exclude={"executor_id"}))


executor_category = Category(
    "executor",
    executor_decider,
    ExecutorRow(),
    apply_executor_event,
    indexes=(("id",),),
    is_deleted=lambda row: row.id == 0,
    is_removable=True,
)


class MembershipRow(ReadModelRow):
    developer_id: int = 0
    projects_id: tuple[int, ...] = ()  # as last requested; the current members are in the rows of the projects


def apply_membership_event(_row: MembershipRow, recorded: RecordedEvent[DeveloperProjectsSet]) -> MembershipRow:
    return MembershipRow(developer_id=recorded.event.developer_id, projects_id=recorded.event.projects_id)


membership_category = Category("membership", membership_decider, MembershipRow(), apply_membership_event)
