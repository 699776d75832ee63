"""What people read about projects, secrets, credentials and executors."""

from collections.abc import Mapping
from datetime import UTC, datetime

from contracts.messages import Row
from contracts.projects import (
    CredentialCreated,
    CredentialDeleted,
    CredentialEvent,
    CredentialRevealed,
    CredentialView,
    DeveloperProjectsChosen,
    ExecutorCreated,
    ExecutorDeleted,
    ExecutorEvent,
    ExecutorView,
    LaunchSettings,
    ProjectCreated,
    ProjectDeleted,
    ProjectEvent,
    ProjectSecretsChosen,
    ProjectView,
    SecretAttached,
    SecretCreated,
    SecretDeleted,
    SecretDetached,
    SecretEvent,
    SecretProjectsChosen,
    SecretRevealed,
    SecretView,
)
from libs.deciding import Category, Recorded
from services.projects.activity import Activity
from services.projects.domain.credential import credential_decider
from services.projects.domain.executor import executor_decider
from services.projects.domain.membership import membership_decider
from services.projects.domain.project import project_decider
from services.projects.domain.secret import secret_decider, with_project, without_project

BEGINNING = datetime.fromtimestamp(0, UTC)
MASK = "*" * 11


class ProjectRow(Row):
    id: int = 0
    owner_alias: str = ""
    owner_key: str = ""  # lower case
    owner_user_id: int | None = None
    company_id: int | None = None
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
    developers_id: tuple[int, ...] = ()
    protected_branches: tuple[str, ...] | None = None
    sealed_signature_key: str = ""
    sealed_login: str = ""  # for the repository; empty: none
    created_at: datetime = BEGINNING

    @property
    def protected(self) -> tuple[str, ...]:
        """Unless branches were named: the project's own, and where it builds any push, the usual ones."""
        if self.protected_branches is not None:
            return self.protected_branches
        return ("main", "master") if self.branch == "*" else (self.branch,)


def describe_project(row: ProjectRow, recorded: Recorded[ProjectEvent]) -> ProjectRow:
    match recorded.event:
        case ProjectDeleted():
            return ProjectRow()
        case ProjectSecretsChosen():
            return row
        case ProjectCreated(project_id=project_id) as event:
            row = ProjectRow(id=project_id, created_at=recorded.at)
        case event:
            pass
    # every other event names new values as the row does
    row = row.but(**event.model_dump(exclude={"project_id"}))
    return row.but(owner_key=row.owner_alias.lower())


project_category = Category(
    "project",
    project_decider,
    ProjectRow(),
    describe_project,
    row_version=2,
    indexes=(
        ("id",),
        ("owner_key", "alias"),
        ("owner_user_id",),
        ("company_id",),
        ("developers_id",),
        ("credential_id",),
        ("executor_id",),
    ),
    gone=lambda row: row.id == 0,
)


class SecretRow(Row):
    id: int = 0
    name: str = ""
    sealed_value: str = ""
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()
    scope: str = "PRIVATE"  # PUBLIC: every project has it
    created_at: datetime = BEGINNING


def describe_secret(row: SecretRow, recorded: Recorded[SecretEvent]) -> SecretRow:
    match recorded.event:
        case SecretDeleted():
            return SecretRow()
        case SecretRevealed():
            return row
        case SecretAttached(project_id=project_id):
            return row.but(projects_id=with_project(row.projects_id, project_id), scope="PRIVATE")
        case SecretDetached(project_id=project_id):
            return row.but(projects_id=without_project(row.projects_id, project_id))
        case SecretProjectsChosen(projects_id=ids):
            return row.but(projects_id=ids, scope="PRIVATE" if ids else "PUBLIC")
        case SecretCreated(secret_id=secret_id, projects_id=ids) as event:
            row = SecretRow(id=secret_id, scope="PRIVATE" if ids else "PUBLIC", created_at=recorded.at)
        case event:
            pass
    return row.but(**event.model_dump(exclude={"secret_id"}))


secret_category = Category(
    "secret",
    secret_decider,
    SecretRow(),
    describe_secret,
    indexes=(("id",), ("projects_id",), ("scope",)),
    gone=lambda row: row.id == 0,
)


class CredentialRow(Row):
    id: int = 0
    name: str = ""
    sealed_ssh_key: str = ""
    created_at: datetime = BEGINNING


def describe_credential(row: CredentialRow, recorded: Recorded[CredentialEvent]) -> CredentialRow:
    match recorded.event:
        case CredentialDeleted():
            return CredentialRow()
        case CredentialRevealed():
            return row
        case CredentialCreated(credential_id=credential_id) as event:
            row = CredentialRow(id=credential_id, created_at=recorded.at)
        case event:
            pass
    return row.but(**event.model_dump(exclude={"credential_id"}))


credential_category = Category(
    "credential",
    credential_decider,
    CredentialRow(),
    describe_credential,
    indexes=(("id",),),
    gone=lambda row: row.id == 0,
)


class ExecutorRow(Row):
    id: int = 0
    name: str = ""
    driver: str = ""
    sealed_variables: str = ""  # one JSON object
    created_at: datetime = BEGINNING


def describe_executor(row: ExecutorRow, recorded: Recorded[ExecutorEvent]) -> ExecutorRow:
    match recorded.event:
        case ExecutorDeleted():
            return ExecutorRow()
        case ExecutorCreated(executor_id=executor_id) as event:
            row = ExecutorRow(id=executor_id, created_at=recorded.at)
        case event:
            pass
    return row.but(**event.model_dump(exclude={"executor_id"}))


executor_category = Category(
    "executor",
    executor_decider,
    ExecutorRow(),
    describe_executor,
    indexes=(("id",),),
    gone=lambda row: row.id == 0,
)


class MembershipRow(Row):
    developer_id: int = 0
    projects_id: tuple[int, ...] = ()  # as they were last chosen; the projects know who belongs to them now


def describe_membership(_row: MembershipRow, recorded: Recorded[DeveloperProjectsChosen]) -> MembershipRow:
    return MembershipRow(developer_id=recorded.event.developer_id, projects_id=recorded.event.projects_id)


membership_category = Category("membership", membership_decider, MembershipRow(), describe_membership)


def project_view(
    row: ProjectRow, activity: Activity, secrets_id: tuple[int, ...], signature_key: str | None
) -> ProjectView:
    return ProjectView(
        **row.model_dump(exclude={"owner_key", "sealed_signature_key", "sealed_login", "protected_branches"}),
        protected_branches=row.protected,
        signature_key=signature_key,
        secrets_id=secrets_id,
        available_steps=activity.available_steps,
        builds_id=activity.builds_id,
        last_build=activity.last_build,
    )


def launch_settings(row: ProjectRow, *, allowed: bool) -> LaunchSettings:
    shared = set(LaunchSettings.model_fields) - {"project_id", "protected_branches", "allowed"}
    own = row.model_dump(include=shared)
    return LaunchSettings(project_id=row.id, protected_branches=row.protected, allowed=allowed, **own)


def secret_view(row: SecretRow, value: str | None = None) -> SecretView:
    shown = row.model_dump(exclude={"sealed_value", "scope", "created_at"})
    return SecretView(**shown, value=value, is_global=row.scope == "PUBLIC")


def credential_view(row: CredentialRow, ssh_key: str | None = None) -> CredentialView:
    return CredentialView(id=row.id, name=row.name, ssh_key=ssh_key)


def executor_view(row: ExecutorRow, variables: Mapping[str, str], *, reveal: bool) -> ExecutorView:
    shown = {name: value if reveal else MASK for name, value in variables.items()}
    return ExecutorView(id=row.id, name=row.name, driver=row.driver, variables=shown)
