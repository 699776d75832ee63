"""Events of projects."""

from typing import Self

from contracts.messages import ChangedFields, Event
from contracts.projects.forge import ForgeKind
from contracts.projects.permissions import Visibility
from contracts.projects.retention import RetentionLimits
from contracts.projects.webhooks.triggers import BuildTriggers


class ProjectCreated(RetentionLimits, BuildTriggers, Event):
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
    protected_branches: tuple[str, ...] | None = None  # None: the project's branch; if that is `*`, `main` and `master`
    sealed_signature_key: str
    sealed_login: str = ""  # encrypted `user:password` or token for the repository; empty: none
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner
    visibility: Visibility = Visibility.INTERNAL
    readers_id: tuple[int, ...] = ()
    maintainers_id: tuple[int, ...] = ()
    badges: bool = False  # the result of the last build is public
    forge_kind: ForgeKind = ForgeKind.NONE
    forge_api_url: str = ""
    forge_secret: str = ""

    def for_publication(self) -> Self:
        """Return the event without the alias of an owner that is a user."""
        return self if self.company_id else self.replace(owner_alias="")


class ProjectSettingsChanged(RetentionLimits, BuildTriggers, ChangedFields, Event):
    """Settings of a project changed. The event contains only the changed settings."""

    project_id: int
    name: str = ""
    description: str | None = None
    branch: str = ""
    spec_file_path: str = ""
    keep_number_build: int | None = None  # None: the limit in the server's settings
    allow_concurrent_execution: bool = False
    protected_branches: tuple[str, ...] | None = None  # None: the project's branch; if that is `*`, `main` and `master`
    credential_id: int | None = None  # None: no credential
    executor_id: int = 0
    visibility: Visibility = Visibility.INTERNAL
    readers_id: tuple[int, ...] = ()  # members with the role `reader`
    maintainers_id: tuple[int, ...] = ()  # members with the role `maintainer`
    badges: bool = False  # the result of the last build is public
    forge_kind: ForgeKind = ForgeKind.NONE  # where the results of builds are reported
    forge_api_url: str = ""  # empty: derived from the repository's URL
    forge_secret: str = ""  # name of the secret with the token for the forge


class ProjectRepositoryChanged(Event):
    """The repository of a project changed, or the login for it."""

    project_id: int
    repository: str
    sealed_login: str = ""  # empty: no login, and a former login is removed


class ProjectDevelopersSet(Event, wire_name="ProjectDevelopersChosen"):
    """The developers of a project were replaced, or a developer was added or removed."""

    project_id: int
    developers_id: tuple[int, ...]


class ProjectSecretsSet(Event, wire_name="ProjectSecretsChosen"):
    """The secrets of a project were set. The streams of the secrets record the change, too."""

    project_id: int
    secrets_id: tuple[int, ...]
    attached: tuple[int, ...] = ()
    detached: tuple[int, ...] = ()


class ProjectMoved(Event):
    """The owner or alias of a project changed."""

    project_id: int
    owner_alias: str
    alias: str
    owner_user_id: int | None = None  # set if a user is the owner
    company_id: int | None = None  # set if a company is the owner

    def for_publication(self) -> Self:
        """Return the event without the alias of an owner that is a user."""
        return self if self.company_id else self.replace(owner_alias="")


class ProjectSignatureKeyRenewed(Event):
    """The key with which forges sign webhook deliveries was replaced."""

    project_id: int
    sealed_signature_key: str


class ProjectDeleted(Event):
    """A project was deleted. Its signature key and repository login can no longer be decrypted."""

    project_id: int
    secrets_id: tuple[int, ...] = ()  # secrets that are detached from the project


# Releases up to 0.2.0 recorded the following events. Later releases record ProjectSettingsChanged instead.


class ProjectRenamed(Event):
    """The name of a project changed, but not its alias."""

    project_id: int
    name: str


class ProjectDescribed(Event):
    """The description of a project changed. With None, it was removed."""

    project_id: int
    description: str | None = None


class ProjectBranchChanged(Event):
    project_id: int
    branch: str


class ProjectSpecFilePathChanged(Event):
    project_id: int
    spec_file_path: str


class ProjectRetentionChanged(Event):
    """The number of builds that are kept changed. None: the limit in the server's settings."""

    project_id: int
    keep_number_build: int | None = None


class ProjectConcurrencyChanged(Event):
    """Concurrent builds of a project were allowed or forbidden."""

    project_id: int
    allow_concurrent_execution: bool


class ProjectBranchesProtected(Event):
    project_id: int
    protected_branches: tuple[str, ...] | None = None


class ProjectCredentialSet(Event, wire_name="ProjectCredentialChosen"):
    project_id: int
    credential_id: int | None = None


class ProjectExecutorSet(Event, wire_name="ProjectExecutorChosen"):
    project_id: int
    executor_id: int


ProjectEvent = (
    ProjectCreated
    | ProjectSettingsChanged
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
