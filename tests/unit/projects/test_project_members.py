"""Members of a project with their roles, and its visibility."""

import pytest

from contracts.projects import (
    ChangeVisibility,
    ProjectCreated,
    ProjectDevelopersSet,
    ProjectRole,
    ProjectSettingsChanged,
    RemoveProjectMember,
    SetProjectDevelopers,
    SetProjectMember,
    Visibility,
)
from services.projects.domain.internal_commands import AddDeveloper, RemoveDeveloper
from services.projects.domain.project import project_decider
from tests.support.scenario import Scenario

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
with_maintainer = ProjectSettingsChanged(project_id=3, maintainers_id=(9,), readers_id=(6,))
project = Scenario(project_decider).given(created, with_maintainer)


def test_a_member_has_one_role() -> None:
    promote = SetProjectMember(project_id=3, user_id=8, role=ProjectRole.MAINTAINER)
    project.when(promote).then(
        ProjectDevelopersSet(project_id=3, developers_id=(7,)),
        ProjectSettingsChanged(project_id=3, maintainers_id=(8, 9)),
    )


def test_a_new_reader_changes_the_list_of_readers_only() -> None:
    add = SetProjectMember(project_id=3, user_id=5, role=ProjectRole.READER)
    project.when(add).then(ProjectSettingsChanged(project_id=3, readers_id=(5, 6)))


def test_setting_the_present_role_changes_nothing() -> None:
    project.when(SetProjectMember(project_id=3, user_id=9, role=ProjectRole.MAINTAINER)).then()


def test_a_member_is_removed_from_the_list_of_the_role() -> None:
    remove = RemoveProjectMember(project_id=3, user_id=9)
    project.when(remove).then(ProjectSettingsChanged(project_id=3, maintainers_id=()))
    project.when(RemoveProjectMember(project_id=3, user_id=5)).then()


def test_a_role_is_required() -> None:
    project.when(SetProjectMember(project_id=3, user_id=5)).then_refused("PROJECT_ROLE_INVALID")


def test_a_role_has_at_most_a_thousand_members() -> None:
    full = project.given(ProjectSettingsChanged(project_id=3, readers_id=tuple(range(100, 1100))))
    add = SetProjectMember(project_id=3, user_id=5, role=ProjectRole.READER)
    full.when(add).then_refused("PROJECT_MEMBER_LIMIT")


@pytest.mark.parametrize("command", [SetProjectDevelopers(project_id=3, developers_id=(9, 7)), AddDeveloper(3, 9)])
def test_a_maintainer_who_is_set_as_developer_is_no_maintainer_anymore(
    command: SetProjectDevelopers | AddDeveloper,
) -> None:
    ids = (7, 9) if isinstance(command, SetProjectDevelopers) else (7, 8, 9)
    project.when(command).then(
        ProjectDevelopersSet(project_id=3, developers_id=ids), ProjectSettingsChanged(project_id=3, maintainers_id=())
    )


def test_a_deleted_user_is_removed_from_every_role() -> None:
    project.when(RemoveDeveloper(project_id=3, developer_id=6)).then(
        ProjectDevelopersSet(project_id=3, developers_id=(7, 8)), ProjectSettingsChanged(project_id=3, readers_id=())
    )


def test_the_visibility_changes_once() -> None:
    private = ProjectSettingsChanged(project_id=3, visibility=Visibility.PRIVATE)
    hide = ChangeVisibility(project_id=3, visibility=Visibility.PRIVATE)
    project.when(hide).then(private)
    project.given(private).when(hide).then()
    project.when(ChangeVisibility(project_id=3)).then_refused("PROJECT_VISIBILITY_INVALID")
