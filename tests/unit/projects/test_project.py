"""Commands to a project: validation, recorded events, and repository credentials that stay hidden."""

import pytest

from contracts.projects import (
    ChangeBranch,
    ChangeConcurrency,
    ChangeRetention,
    ChangeRetentionLimits,
    ChangeSpecFilePath,
    DescribeProject,
    ProjectBranchChanged,
    ProjectBranchesProtected,
    ProjectConcurrencyChanged,
    ProjectCreated,
    ProjectCredentialSet,
    ProjectDeleted,
    ProjectDescribed,
    ProjectDevelopersSet,
    ProjectEvent,
    ProjectExecutorSet,
    ProjectMoved,
    ProjectRenamed,
    ProjectRepositoryChanged,
    ProjectRetentionChanged,
    ProjectSecretsSet,
    ProjectSettingsChanged,
    ProjectSignatureKeyRenewed,
    ProjectSpecFilePathChanged,
    ProtectBranches,
    RenameProject,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectExecutor,
)
from libs.eventstore.decider import Release, Reserve
from libs.slugs import make_slug
from services.projects.domain.internal_commands import (
    AddDeveloper,
    AddProject,
    RemoveDeveloper,
    RemoveProject,
    SelectSecrets,
    SetProjectPath,
    SetRepository,
    SetSignatureKey,
)
from services.projects.domain.project import Project, ProjectCommand, evolve, project_decider, reserve_names
from tests.support.scenario import Scenario

record = AddProject(
    name=" Shop ",
    repository="https://forge.example/shop.git",
    branch="main",
    spec_file_path="/spec.yaml",
    allow_concurrent_execution=False,
    executor_id=1,
    developers_id=(8, 7, 8),
    project_id=3,
    owner_alias="Ivan",
    alias="shop",
    sealed_signature_key="sealed",
)
created = ProjectCreated(
    project_id=3,
    owner_alias="Ivan",
    alias="shop",
    name="Shop",
    repository="https://forge.example/shop.git",
    branch="main",
    spec_file_path="/spec.yaml",
    allow_concurrent_execution=False,
    executor_id=1,
    developers_id=(7, 8),
    sealed_signature_key="sealed",
)
deleted = ProjectDeleted(project_id=3)

project = Scenario(project_decider)
existing_project = evolve(Project(), created)


def test_a_project_is_created_with_trimmed_values() -> None:
    project.when(record).then(created)


def test_a_project_is_created_with_limits_of_retention() -> None:
    limits = {"keep_build_days": 90, "keep_log_days": 36_500, "keep_number_log": 100, "keep_number_artifact": 20}
    project.when(record.replace(**limits, keep_artifact_days=0)).then(created.replace(**limits))


@pytest.mark.parametrize(
    "limit", [{"keep_artifact_days": -1}, {"keep_build_days": 36_501}, {"keep_number_log": 10**9 + 1}]
)
def test_a_project_with_a_limit_out_of_range_is_not_created(limit: dict[str, int]) -> None:
    project.when(record.replace(**limit)).then_refused("PROJECT_RETENTION_INVALID")


def test_no_event_contains_repository_credentials_in_plain_text() -> None:
    address, bare_url = "https://ada:hush@forge.example/shop.git", "https://forge.example/shop.git"
    project.when(record.replace(repository=address, sealed_login="s1")).then(created.replace(sealed_login="s1"))
    change = SetRepository(project_id=3, repository=address, sealed_login="s2")
    changed = ProjectRepositoryChanged(project_id=3, repository=bare_url, sealed_login="s2")
    project.given(created.replace(sealed_login="s1")).when(change).then(changed)


def test_a_url_without_credentials_removes_the_stored_ones() -> None:
    change = SetRepository(project_id=3, repository="https://forge.example/shop.git")
    changed = ProjectRepositoryChanged(project_id=3, repository="https://forge.example/shop.git")
    project.given(created.replace(sealed_login="s1")).when(change).then(changed)


def test_the_repr_of_a_command_hides_the_repository_credentials() -> None:
    address = "https://ada:hush@forge.example/shop.git"
    assert "hush" not in repr(record.replace(repository=address))
    assert "hush" not in repr(SetRepository(project_id=3, repository=address))


def test_the_secrets_of_a_new_project_are_a_separate_event() -> None:
    secrets_set = ProjectSecretsSet(project_id=3, secrets_id=(4, 5), attached=(4, 5))
    project.when(record.replace(secrets_id=(5, 4, 5))).then(created, secrets_set)


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        (("name", "repository", "branch", "spec_file_path", "allow_concurrent_execution"), "PROJECT_NAME_REQUIRED"),
        (("repository", "branch", "spec_file_path", "allow_concurrent_execution"), "PROJECT_REPOSITORY_REQUIRED"),
        (("branch", "spec_file_path", "allow_concurrent_execution"), "PROJECT_BRANCH_REQUIRED"),
        (("spec_file_path", "allow_concurrent_execution"), "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        (("allow_concurrent_execution", "executor_id"), "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED"),
        (("executor_id",), "EXECUTOR_NOT_FOUND"),
    ],
)
def test_missing_project_fields_are_reported_in_a_fixed_order(missing: tuple[str, ...], code: str) -> None:
    project.when(record.replace(**dict.fromkeys(missing))).then_refused(code)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RenameProject(project_id=3, name=" "), "PROJECT_NAME_REQUIRED"),
        (RenameProject(project_id=3, name="a\x1b[31m"), "REQUEST_INVALID"),
        (SetRepository(project_id=3, repository=""), "PROJECT_REPOSITORY_REQUIRED"),
        (ChangeBranch(project_id=3), "PROJECT_BRANCH_REQUIRED"),
        (ChangeSpecFilePath(project_id=3, spec_file_path="\t"), "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        (ChangeRetention(project_id=3, keep_number_build=-1), "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        (ChangeRetention(project_id=3, keep_number_build=2**70), "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        (ChangeRetentionLimits(project_id=3, keep_log_days=-1), "PROJECT_RETENTION_INVALID"),
        (ChangeRetentionLimits(project_id=3, keep_build_days=36_501), "PROJECT_RETENTION_INVALID"),
        (ChangeRetentionLimits(project_id=3, keep_number_artifact=2**70), "PROJECT_RETENTION_INVALID"),
        (ChangeConcurrency(project_id=3), "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED"),
        (SetProjectExecutor(project_id=3), "EXECUTOR_NOT_FOUND"),
        (record, "CONFLICT"),
    ],
)
def test_project_changes_are_validated_like_the_creation(command: ProjectCommand, code: str) -> None:
    project.given(created).when(command).then_refused(code)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameProject(project_id=3, name="Store"), ProjectSettingsChanged(project_id=3, name="Store")),
        (DescribeProject(project_id=3, description="d"), ProjectSettingsChanged(project_id=3, description="d")),
        (SetRepository(project_id=3, repository="h:p"), ProjectRepositoryChanged(project_id=3, repository="h:p")),
        (ChangeBranch(project_id=3, branch="*"), ProjectSettingsChanged(project_id=3, branch="*")),
        (
            ChangeSpecFilePath(project_id=3, spec_file_path="/a"),
            ProjectSettingsChanged(project_id=3, spec_file_path="/a"),
        ),
        (
            ChangeRetention(project_id=3, keep_number_build=0),
            ProjectSettingsChanged(project_id=3, keep_number_build=0),
        ),
        (
            ChangeRetentionLimits(project_id=3, keep_log_days=30, keep_number_log=0),
            ProjectSettingsChanged(project_id=3, keep_log_days=30),
        ),
        (
            ChangeConcurrency(project_id=3, allow_concurrent_execution=True),
            ProjectSettingsChanged(project_id=3, allow_concurrent_execution=True),
        ),
        (
            ProtectBranches(project_id=3, protected_branches=("v*",)),
            ProjectSettingsChanged(project_id=3, protected_branches=("v*",)),
        ),
        (
            SetProjectDevelopers(project_id=3, developers_id=(9, 9)),
            ProjectDevelopersSet(project_id=3, developers_id=(9,)),
        ),
        (AddDeveloper(project_id=3, developer_id=1), ProjectDevelopersSet(project_id=3, developers_id=(1, 7, 8))),
        (RemoveDeveloper(project_id=3, developer_id=7), ProjectDevelopersSet(project_id=3, developers_id=(8,))),
        (SetProjectCredential(project_id=3, credential_id=2), ProjectSettingsChanged(project_id=3, credential_id=2)),
        (SetProjectExecutor(project_id=3, executor_id=2), ProjectSettingsChanged(project_id=3, executor_id=2)),
        (SetProjectPath(project_id=3, alias="store"), ProjectMoved(project_id=3, owner_alias="Ivan", alias="store")),
        (
            SetSignatureKey(project_id=3, sealed_signature_key="new"),
            ProjectSignatureKeyRenewed(project_id=3, sealed_signature_key="new"),
        ),
        (
            SelectSecrets(project_id=3, secrets_id=(4,), attached=(4,), detached=(5,)),
            ProjectSecretsSet(project_id=3, secrets_id=(4,), attached=(4,), detached=(5,)),
        ),
        (RemoveProject(project_id=3, secrets_id=(4,)), ProjectDeleted(project_id=3, secrets_id=(4,))),
    ],
)
def test_each_command_records_one_event(command: ProjectCommand, event: ProjectEvent) -> None:
    project.given(created).when(command).then(event)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameProject(project_id=3, name="Store"), ProjectSettingsChanged(project_id=3, name="Store")),
        (ProtectBranches(project_id=3, protected_branches=()), ProjectSettingsChanged(project_id=3, name="Store")),
    ],
)
def test_project_commands_without_effect_record_nothing(command: ProjectCommand, event: ProjectEvent) -> None:
    project.given(created, event).when(command).then()


@pytest.mark.parametrize(
    "event",
    [
        ProjectRenamed(project_id=3, name="Store"),
        ProjectDescribed(project_id=3, description="d"),
        ProjectBranchChanged(project_id=3, branch="*"),
        ProjectSpecFilePathChanged(project_id=3, spec_file_path="/a"),
        ProjectRetentionChanged(project_id=3, keep_number_build=0),
        ProjectConcurrencyChanged(project_id=3, allow_concurrent_execution=True),
        ProjectBranchesProtected(project_id=3, protected_branches=("v*",)),
        ProjectCredentialSet(project_id=3, credential_id=2),
        ProjectExecutorSet(project_id=3, executor_id=2),
    ],
)
def test_an_event_of_an_earlier_release_has_the_effect_of_the_event_that_replaced_it(event: ProjectEvent) -> None:
    replacement = ProjectSettingsChanged.model_validate(event.model_dump())
    assert evolve(existing_project, event) == evolve(existing_project, replacement) != existing_project


def test_a_setting_that_changes_to_null_is_distinguished_from_one_that_is_unchanged() -> None:
    unlimited = ProjectSettingsChanged(project_id=3, keep_number_build=None)
    assert unlimited.model_dump() == {"project_id": 3, "keep_number_build": None}
    assert unlimited.model_dump_json() == '{"project_id":3,"keep_number_build":null}'
    limited = evolve(existing_project, ProjectSettingsChanged(project_id=3, keep_number_build=5))
    assert limited.settings == created.replace(keep_number_build=5)
    assert evolve(limited, unlimited) == existing_project
    assert evolve(limited, ProjectSettingsChanged(project_id=3, name="Store")).settings == created.replace(
        keep_number_build=5, name="Store"
    )


@pytest.mark.parametrize(
    "command", [AddDeveloper(project_id=3, developer_id=7), RemoveDeveloper(project_id=3, developer_id=9)]
)
def test_adding_and_removing_a_developer_is_always_recorded(command: ProjectCommand) -> None:
    project.given(created).when(command).then(ProjectDevelopersSet(project_id=3, developers_id=(7, 8)))


@pytest.mark.parametrize("command", [RenameProject(project_id=3, name="x"), RemoveProject(project_id=3), record])
def test_a_deleted_project_cannot_be_changed(command: ProjectCommand) -> None:
    project.given(created, deleted).when(command).then_refused("PROJECT_NOT_FOUND")


SHOP, STORE = "project:ivan/shop", "project:olga/store"
moved = ProjectMoved(project_id=3, owner_alias="Olga", alias="store")


def test_owner_and_alias_are_reserved_together() -> None:
    assert reserve_names(Project(), created) == [Reserve(SHOP, "PROJECT_ALIAS_TAKEN")]
    assert reserve_names(existing_project, moved) == [Release(SHOP), Reserve(STORE, "PROJECT_ALIAS_TAKEN")]
    assert reserve_names(existing_project, deleted) == [Release(SHOP)]


def test_another_case_of_the_owner_reserves_nothing() -> None:
    assert reserve_names(existing_project, moved.replace(owner_alias="IVAN", alias="shop")) == []


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("My Shop!", "my-shop"),
        ("Été 2026", "ete-2026"),
        ("Проект «Щука» №1", "proekt-shchuka-no1"),
        ("Ёлка и подъезд", "elka-i-podezd"),
        ("商店", "project"),
        ("...", "project"),
        ("a" * 80, "a" * 50),
        ("v1.2_x", "v1.2_x"),
    ],
)
def test_a_project_alias_is_derived_from_its_name(name: str, alias: str) -> None:
    assert make_slug(name, "project") == alias
