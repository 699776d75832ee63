"""Internal commands of the projects service: prepared commands, and commands of policies and workers."""

from dataclasses import dataclass, field

from contracts.projects import Provider, PullRequestBuilds, Push, ScheduleVariable, Sender, Visibility
from libs.eventstore.decider import InternalCommand
from services.projects.domain.webhook import PullRequestChange


@dataclass(frozen=True)
class AddProject(InternalCommand):
    """Add a project with a new id, its owner, its alias and an encrypted signature key."""

    project_id: int
    name: str | None
    repository: str | None = field(repr=False)  # may contain a login
    branch: str | None
    spec_file_path: str | None
    allow_concurrent_execution: bool | None
    executor_id: int | None
    owner_alias: str
    alias: str
    sealed_signature_key: str
    sealed_login: str = ""
    description: str | None = None
    keep_number_build: int | None = None
    credential_id: int | None = None
    developers_id: tuple[int, ...] = ()
    secrets_id: tuple[int, ...] = ()
    protected_branches: tuple[str, ...] | None = None
    owner_user_id: int | None = None
    company_id: int | None = None
    visibility: Visibility = Visibility.INTERNAL
    keep_build_days: int | None = None
    keep_log_days: int | None = None
    keep_number_log: int | None = None
    keep_artifact_days: int | None = None
    keep_number_artifact: int | None = None


@dataclass(frozen=True)
class SetRepository(InternalCommand):
    """Set the repository and its encrypted login. Without a login, a stored one is removed."""

    project_id: int
    repository: str | None = field(repr=False)  # may contain a login
    sealed_login: str = ""


@dataclass(frozen=True)
class SelectSecrets(InternalCommand):
    """Set the secrets of a project. `attached` and `detached` are the differences from the current secrets."""

    project_id: int
    secrets_id: tuple[int, ...]
    attached: tuple[int, ...] = ()
    detached: tuple[int, ...] = ()


@dataclass(frozen=True)
class SetProjectPath(InternalCommand):
    """Set owner and alias of a project. A missing owner or alias stays unchanged."""

    project_id: int
    owner_alias: str | None = None
    alias: str | None = None
    owner_user_id: int | None = None
    company_id: int | None = None


@dataclass(frozen=True)
class SetSignatureKey(InternalCommand):
    project_id: int
    sealed_signature_key: str


@dataclass(frozen=True)
class RemoveProject(InternalCommand):
    project_id: int
    secrets_id: tuple[int, ...] = ()


@dataclass(frozen=True)
class SelectProjects(InternalCommand):
    """Set the projects of a developer. `joined` and `left` are the differences from the current projects."""

    developer_id: int
    projects_id: tuple[int, ...]
    joined: tuple[int, ...] = ()
    left: tuple[int, ...] = ()


@dataclass(frozen=True)
class AddSecret(InternalCommand):
    """Add a secret with a new id and its encrypted value."""

    secret_id: int
    name: str | None
    sealed_value: str
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()


@dataclass(frozen=True)
class SetSecretValue(InternalCommand):
    secret_id: int
    sealed_value: str


@dataclass(frozen=True)
class AddCredential(InternalCommand):
    """Add a credential with a new id and its encrypted key."""

    credential_id: int
    name: str | None
    sealed_ssh_key: str


@dataclass(frozen=True)
class SetCredentialKey(InternalCommand):
    credential_id: int
    sealed_ssh_key: str


@dataclass(frozen=True)
class AddExecutor(InternalCommand):
    """Add an executor with a new id and its encrypted variables."""

    executor_id: int
    name: str | None
    driver: str | None
    sealed_variables: str = ""


@dataclass(frozen=True)
class SetExecutorVariables(InternalCommand):
    executor_id: int
    sealed_variables: str


@dataclass(frozen=True)
class AddSchedule(InternalCommand):
    """Add a schedule with a new id."""

    project_id: int
    schedule_id: int
    cron: str | None
    zone: str | None = None
    branch: str | None = None
    variables: tuple[ScheduleVariable, ...] | None = None
    description: str | None = None
    active: bool | None = None


@dataclass(frozen=True)
class AddDelivery(InternalCommand):
    """Add a verified webhook delivery, and decide whether it launches a build."""

    delivery_id: str
    project_id: int
    provider: Provider
    event: str
    forge_id: str
    branch: str  # branch of the project; "*": any branch
    sealed_sender: str  # name of the sender at the forge, encrypted with the project's key; empty: none
    sender: Sender | None
    push: Push | None  # None: not a push event
    size: int  # bytes of the body
    digest: str  # SHA-256 of the body
    build_tags: bool = False  # whether the project builds tags
    change: PullRequestChange | None = None  # None: not an event of a pull request that the project may build
    build_pull_requests: PullRequestBuilds = PullRequestBuilds.NONE
    repository: str = field(default="", repr=False)  # URL of the project's repository


@dataclass(frozen=True)
class AddDeveloper(InternalCommand):
    """Add a developer to a project, as a consequence of SetDeveloperProjects."""

    project_id: int
    developer_id: int


@dataclass(frozen=True)
class RemoveDeveloper(InternalCommand):
    """Remove a member with any role from a project, because of SetDeveloperProjects or of the user's deletion."""

    project_id: int
    developer_id: int


@dataclass(frozen=True)
class AttachSecret(InternalCommand):
    """Attach a secret to a project, as a consequence of SetProjectSecrets. A deleted secret is ignored."""

    secret_id: int
    project_id: int


@dataclass(frozen=True)
class DetachSecret(InternalCommand):
    """Detach a secret from a project. A deleted secret is ignored."""

    secret_id: int
    project_id: int
