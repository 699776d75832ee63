"""What may happen to projects."""

import pytest

from contracts.projects import (
    AddDeveloper,
    ChangeBranch,
    ChangeConcurrency,
    ChangeRepository,
    ChangeRetention,
    ChangeSpecFilePath,
    ChooseCredential,
    ChooseDevelopers,
    ChooseExecutor,
    ChooseSecrets,
    DeleteProject,
    DescribeProject,
    MoveProject,
    ProjectBranchChanged,
    ProjectBranchesProtected,
    ProjectCommand,
    ProjectConcurrencyChanged,
    ProjectCreated,
    ProjectCredentialChosen,
    ProjectDeleted,
    ProjectDescribed,
    ProjectDevelopersChosen,
    ProjectEvent,
    ProjectExecutorChosen,
    ProjectMoved,
    ProjectRenamed,
    ProjectRepositoryChanged,
    ProjectRetentionChanged,
    ProjectSecretsChosen,
    ProjectSignatureKeyRenewed,
    ProjectSpecFilePathChanged,
    ProtectBranches,
    RecordProject,
    RemoveDeveloper,
    RenameProject,
    RenewSignatureKey,
)
from libs.deciding import Release, Take
from libs.slugs import slug
from libs.testing.scenario import Scenario
from services.projects.domain.project import Project, claims, evolve, project_decider

record = RecordProject(
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


def test_a_project_is_created_with_tidy_values() -> None:
    project.when(record).then(created)


def test_no_event_names_a_login_in_clear() -> None:
    address, bare = "https://ada:hush@forge.example/shop.git", "https://forge.example/shop.git"
    project.when(record.but(repository=address, sealed_login="s1")).then(created.but(sealed_login="s1"))
    change = ChangeRepository(project_id=3, repository=address, sealed_login="s2")
    changed = ProjectRepositoryChanged(project_id=3, repository=bare, sealed_login="s2")
    project.given(created.but(sealed_login="s1")).when(change).then(changed)


def test_an_address_without_a_login_takes_the_former_one_away() -> None:
    change = ChangeRepository(project_id=3, repository="https://forge.example/shop.git")
    changed = ProjectRepositoryChanged(project_id=3, repository="https://forge.example/shop.git")
    project.given(created.but(sealed_login="s1")).when(change).then(changed)


def test_a_login_does_not_show_when_a_command_is_printed() -> None:
    address = "https://ada:hush@forge.example/shop.git"
    assert "hush" not in repr(record.but(repository=address))
    assert "hush" not in repr(ChangeRepository(project_id=3, repository=address))


def test_the_secrets_of_a_new_project_are_a_wish_of_their_own() -> None:
    wish = ProjectSecretsChosen(project_id=3, secrets_id=(4, 5), attached=(4, 5))
    project.when(record.but(secrets_id=(5, 4, 5))).then(created, wish)


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
def test_what_is_missing_is_said_in_order(missing: tuple[str, ...], code: str) -> None:
    project.when(record.but(**dict.fromkeys(missing))).then_refused(code)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RenameProject(project_id=3, name=" "), "PROJECT_NAME_REQUIRED"),
        (RenameProject(project_id=3, name="a\x1b[31m"), "REQUEST_INVALID"),
        (ChangeRepository(project_id=3, repository=""), "PROJECT_REPOSITORY_REQUIRED"),
        (ChangeBranch(project_id=3), "PROJECT_BRANCH_REQUIRED"),
        (ChangeSpecFilePath(project_id=3, spec_file_path="\t"), "PROJECT_SPEC_FILE_PATH_REQUIRED"),
        (ChangeRetention(project_id=3, keep_number_build=-1), "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        (ChangeRetention(project_id=3, keep_number_build=2**70), "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        (ChangeConcurrency(project_id=3), "PROJECT_ALLOW_CONCURRENT_EXECUTION_REQUIRED"),
        (ChooseExecutor(project_id=3), "EXECUTOR_NOT_FOUND"),
        (record, "CONFLICT"),
    ],
)
def test_changes_are_checked_as_the_creation_is(command: ProjectCommand, code: str) -> None:
    project.given(created).when(command).then_refused(code)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameProject(project_id=3, name="Store"), ProjectRenamed(project_id=3, name="Store")),
        (DescribeProject(project_id=3, description="d"), ProjectDescribed(project_id=3, description="d")),
        (ChangeRepository(project_id=3, repository="h:p"), ProjectRepositoryChanged(project_id=3, repository="h:p")),
        (ChangeBranch(project_id=3, branch="*"), ProjectBranchChanged(project_id=3, branch="*")),
        (
            ChangeSpecFilePath(project_id=3, spec_file_path="/a"),
            ProjectSpecFilePathChanged(project_id=3, spec_file_path="/a"),
        ),
        (
            ChangeRetention(project_id=3, keep_number_build=0),
            ProjectRetentionChanged(project_id=3, keep_number_build=0),
        ),
        (
            ChangeConcurrency(project_id=3, allow_concurrent_execution=True),
            ProjectConcurrencyChanged(project_id=3, allow_concurrent_execution=True),
        ),
        (
            ProtectBranches(project_id=3, protected_branches=("v*",)),
            ProjectBranchesProtected(project_id=3, protected_branches=("v*",)),
        ),
        (
            ChooseDevelopers(project_id=3, developers_id=(9, 9)),
            ProjectDevelopersChosen(project_id=3, developers_id=(9,)),
        ),
        (AddDeveloper(project_id=3, developer_id=1), ProjectDevelopersChosen(project_id=3, developers_id=(1, 7, 8))),
        (RemoveDeveloper(project_id=3, developer_id=7), ProjectDevelopersChosen(project_id=3, developers_id=(8,))),
        (ChooseCredential(project_id=3, credential_id=2), ProjectCredentialChosen(project_id=3, credential_id=2)),
        (ChooseExecutor(project_id=3, executor_id=2), ProjectExecutorChosen(project_id=3, executor_id=2)),
        (MoveProject(project_id=3, alias="store"), ProjectMoved(project_id=3, owner_alias="Ivan", alias="store")),
        (
            RenewSignatureKey(project_id=3, sealed_signature_key="new"),
            ProjectSignatureKeyRenewed(project_id=3, sealed_signature_key="new"),
        ),
        (
            ChooseSecrets(project_id=3, secrets_id=(4,), attached=(4,), detached=(5,)),
            ProjectSecretsChosen(project_id=3, secrets_id=(4,), attached=(4,), detached=(5,)),
        ),
        (DeleteProject(project_id=3, secrets_id=(4,)), ProjectDeleted(project_id=3, secrets_id=(4,))),
    ],
)
def test_a_wish_becomes_one_event(command: ProjectCommand, event: ProjectEvent) -> None:
    project.given(created).when(command).then(event)


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameProject(project_id=3, name="Store"), ProjectRenamed(project_id=3, name="Store")),
        (ProtectBranches(project_id=3, protected_branches=()), ProjectRenamed(project_id=3, name="Store")),
    ],
)
def test_a_wish_that_is_already_true_changes_nothing(command: ProjectCommand, event: ProjectEvent) -> None:
    project.given(created, event).when(command).then()


@pytest.mark.parametrize(
    "command", [AddDeveloper(project_id=3, developer_id=7), RemoveDeveloper(project_id=3, developer_id=9)]
)
def test_joining_and_leaving_are_recorded_even_if_they_change_nothing(command: ProjectCommand) -> None:
    project.given(created).when(command).then(ProjectDevelopersChosen(project_id=3, developers_id=(7, 8)))


@pytest.mark.parametrize("command", [RenameProject(project_id=3, name="x"), DeleteProject(project_id=3), record])
def test_a_deleted_project_is_over(command: ProjectCommand) -> None:
    project.given(created, deleted).when(command).then_refused("PROJECT_NOT_FOUND")


SHOP, STORE = "project:ivan/shop", "project:olga/store"
there = evolve(Project(), created)
moved = ProjectMoved(project_id=3, owner_alias="Olga", alias="store")


def test_owner_and_alias_are_claimed_together() -> None:
    assert claims(Project(), created) == [Take(SHOP, "PROJECT_ALIAS_TAKEN")]
    assert claims(there, moved) == [Release(SHOP), Take(STORE, "PROJECT_ALIAS_TAKEN")]
    assert claims(there, deleted) == [Release(SHOP)]


def test_another_spelling_of_the_owner_claims_nothing() -> None:
    assert claims(there, moved.but(owner_alias="IVAN", alias="shop")) == []


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
def test_an_alias_resembles_the_name(name: str, alias: str) -> None:
    assert slug(name, "project") == alias
