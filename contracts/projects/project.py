"""Commands for projects."""

from typing import Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from contracts.messages import Command
from contracts.projects.fields import Ids, Name, Names, Prose, UrlOrPath
from contracts.projects.permissions import Visibility
from contracts.projects.retention import RetentionLimits


class CreateProject(Command):
    """Create a project, owned by the actor, another user or a company.

    Errors: PROJECT_NAME_REQUIRED, PROJECT_REPOSITORY_REQUIRED, PROJECT_REPOSITORY_INVALID, PROJECT_BRANCH_REQUIRED,
    PROJECT_BRANCH_INVALID, PROJECT_SPEC_FILE_PATH_REQUIRED, PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED,
    PROJECT_KEEP_NUMBER_BUILD_INVALID, PROJECT_RETENTION_INVALID, EXECUTOR_NOT_FOUND, CREDENTIAL_NOT_FOUND,
    DEVELOPER_NOT_FOUND, SECRET_NOT_FOUND, PROJECT_OWNER_INVALID, PROJECT_ALIAS_INVALID, PROJECT_ALIAS_TAKEN.
    """

    name: Name | None = None
    description: Prose | None = None
    repository: UrlOrPath | None = Field(default=None, repr=False)  # URL, may contain a login
    branch: Name | None = None
    spec_file_path: UrlOrPath | None = None
    keep_number_build: int | None = None  # None: the limit in the server's settings
    allow_concurrent_execution: bool | None = None
    executor_id: int | None = None
    credential_id: int | None = None
    developers_id: Ids = ()
    secrets_id: Ids = ()
    owner_alias: Name | None = None  # None: the user who sends the command
    alias: Name | None = None  # None: derived from the name
    protected_branches: Names | None = None  # None: the project's branch; if that is `*`, `main` and `master`
    visibility: Visibility | None = None  # None: the default of the server
    # the limits of RetentionLimits; None: the limit in the server's settings
    keep_build_days: int | None = None
    keep_log_days: int | None = None
    keep_number_log: int | None = None
    keep_artifact_days: int | None = None
    keep_number_artifact: int | None = None

    @model_serializer(mode="wrap")
    def _omit_missing_limits(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out limits that are None: services of release 0.2.0 reject these fields."""
        fields: dict[str, Any] = serialize(self)
        missing = [name for name in RetentionLimits.model_fields if fields[name] is None]
        return {name: value for name, value in fields.items() if name not in missing}


class RenameProject(Command):
    """Change the name of a project. The alias, which is part of its path, does not change.

    Errors: PROJECT_NOT_FOUND, PROJECT_NAME_REQUIRED.
    """

    project_id: int
    name: Name | None = None


class DescribeProject(Command):
    """Change the description of a project. Blank: none. Errors: PROJECT_NOT_FOUND."""

    project_id: int
    description: Prose | None = None


class ChangeRepository(Command):
    """Change the repository URL. If the URL has no login, a stored login is removed.

    Errors: PROJECT_NOT_FOUND, PROJECT_REPOSITORY_REQUIRED, PROJECT_REPOSITORY_INVALID.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_login"})

    project_id: int
    repository: UrlOrPath | None = Field(default=None, repr=False)  # URL, may contain a login


class ChangeBranch(Command):
    """Change the branch of a project: a name, or `*` for the default branch and, at pushes, any branch.

    Errors: PROJECT_NOT_FOUND, PROJECT_BRANCH_REQUIRED, PROJECT_BRANCH_INVALID.
    """

    project_id: int
    branch: Name | None = None


class ChangeSpecFilePath(Command):
    """Change the path of the spec file. Errors: PROJECT_NOT_FOUND, PROJECT_SPEC_FILE_PATH_REQUIRED."""

    project_id: int
    spec_file_path: UrlOrPath | None = None


class ChangeRetention(Command):
    """Change how many finished builds of a project are kept. None: the limit in the server's settings.

    Errors: PROJECT_NOT_FOUND, PROJECT_KEEP_NUMBER_BUILD_INVALID.
    """

    project_id: int
    keep_number_build: int | None = None


class ChangeConcurrency(Command):
    """Change whether several builds of a project may run at the same time.

    Errors: PROJECT_NOT_FOUND, PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED.
    """

    project_id: int
    allow_concurrent_execution: bool | None = None


class ProtectBranches(Command):
    """Set the protected branches, as names or globs.

    Without a list, the project's branch is protected, or `main` and `master` if the project's branch is `*`.
    Errors: PROJECT_NOT_FOUND.
    """

    project_id: int
    protected_branches: Names | None = None


class SetProjectDevelopers(Command, wire_name="ChooseDevelopers"):
    """Replace the developers of a project. A listed maintainer or reader becomes a developer.

    Errors: PROJECT_NOT_FOUND, DEVELOPER_NOT_FOUND.
    """

    project_id: int
    developers_id: Ids


class SetProjectSecrets(Command, wire_name="ChooseSecrets"):
    """Replace the secrets attached to a project. The streams of the secrets record the change, too.

    A secret that is detached from its last project is used by no project. Errors: PROJECT_NOT_FOUND, SECRET_NOT_FOUND.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"attached", "detached"})

    project_id: int
    secrets_id: Ids


class SetProjectCredential(Command, wire_name="ChooseCredential"):
    """Set the credential that reads the project's repository. None: no credential.

    Errors: PROJECT_NOT_FOUND, CREDENTIAL_NOT_FOUND.
    """

    project_id: int
    credential_id: int | None = None


class SetProjectExecutor(Command, wire_name="ChooseExecutor"):
    """Set the executor of a project. Errors: PROJECT_NOT_FOUND, EXECUTOR_NOT_FOUND."""

    project_id: int
    executor_id: int | None = None


class MoveProject(Command):
    """Change the owner or alias of a project. Omitted fields stay unchanged.

    If only the owner is given and has another project with the alias, a number is added to the alias. Errors:
    PROJECT_NOT_FOUND, PROJECT_OWNER_INVALID, PROJECT_ALIAS_INVALID, PROJECT_ALIAS_TAKEN.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"owner_user_id", "company_id"})

    project_id: int
    owner_alias: Name | None = None
    alias: Name | None = None


class RenewSignatureKey(Command):
    """Generate a new key with which forges sign webhook deliveries. The former key becomes invalid.

    Errors: PROJECT_NOT_FOUND.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"sealed_signature_key"})

    project_id: int


class DeleteProject(Command):
    """Delete a project and detach its secrets. Its builds, runners, schedules and receivers are deleted a little later.

    Errors: PROJECT_NOT_FOUND.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"secrets_id"})

    project_id: int
