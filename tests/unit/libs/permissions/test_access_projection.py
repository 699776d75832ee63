"""The projection of the projects' access, from the events of all releases."""

from datetime import UTC, datetime
from functools import reduce

from contracts.projects import (
    ProjectCreated,
    ProjectDeleted,
    ProjectDevelopersSet,
    ProjectEvent,
    ProjectMoved,
    ProjectSettingsChanged,
    Visibility,
)
from libs.eventstore.decider import AnyEvent, CommandMetadata, RecordedEvent
from libs.permissions.projections import ProjectAccessRow, project_access_projection

CREATED = ProjectCreated(
    project_id=3,
    owner_alias="ivan",
    alias="shop",
    name="Shop",
    repository="https://forge.example/shop.git",
    branch="main",
    spec_file_path="/spec.yaml",
    allow_concurrent_execution=True,
    executor_id=1,
    developers_id=(7,),
    sealed_signature_key="sealed",
    owner_user_id=5,
)


def project(*events: ProjectEvent) -> ProjectAccessRow:
    recorded = [
        RecordedEvent("project-3", number, 0, event, CommandMetadata("c", datetime(2026, 1, 1, tzinfo=UTC)))
        for number, event in enumerate(events, 1)
    ]
    relevant: list[AnyEvent] = [event for event in recorded if project_access_projection.row_key(event)]
    return reduce(project_access_projection.apply, relevant, ProjectAccessRow())


def test_a_project_of_an_earlier_release_is_internal_and_its_developers_are_members() -> None:
    assert project(CREATED) == ProjectAccessRow(id=3, owner_user_id=5, developers_id=(7,))


def test_changes_of_members_visibility_and_owner_are_applied() -> None:
    changes = (
        ProjectSettingsChanged(project_id=3, visibility=Visibility.PRIVATE, readers_id=(8,)),
        ProjectSettingsChanged(project_id=3, maintainers_id=(9,)),
        ProjectDevelopersSet(project_id=3, developers_id=()),
        ProjectMoved(project_id=3, owner_alias="acme", alias="shop", company_id=4),
        ProjectSettingsChanged(project_id=3, name="Store"),
    )
    assert project(CREATED, *changes) == ProjectAccessRow(
        id=3, visibility=Visibility.PRIVATE, company_id=4, readers_id=(8,), maintainers_id=(9,)
    )


def test_the_access_of_a_deleted_project_stays() -> None:
    private = ProjectSettingsChanged(project_id=3, visibility=Visibility.PRIVATE)
    assert project(CREATED, private, ProjectDeleted(project_id=3)) == project(CREATED, private)
