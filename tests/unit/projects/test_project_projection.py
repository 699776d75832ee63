"""Read models of projects, secrets and available steps."""

from datetime import UTC, datetime
from functools import reduce
from typing import Any

import pytest

from contracts.builds import BuildPlanned, LaunchedProject
from contracts.messages import Event
from contracts.projects import (
    LastBuild,
    LaunchSettings,
    ProjectBranchChanged,
    ProjectBranchesProtected,
    ProjectCreated,
    ProjectDeleted,
    ProjectMoved,
    ProjectRenamed,
    ProjectSecretsSet,
    SecretAttached,
    SecretCreated,
    SecretDeleted,
    SecretDetached,
    SecretEvent,
    SecretRevealed,
    SecretValueChanged,
)
from libs.eventstore.decider import CommandMetadata, RecordedEvent
from services.projects.build_activity import (
    BuildActivity,
    StepsRow,
    apply_build_planned,
    finished_builds_projection,
    project_steps_projection,
)
from services.projects.domain.internal_commands import AttachSecret, DetachSecret
from services.projects.policies import on_project_event
from services.projects.projections import (
    ProjectRow,
    SecretRow,
    apply_project_event,
    apply_secret_event,
    project_category,
    secret_category,
)
from services.projects.views import to_launch_settings, to_project_view, to_secret_view

AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)

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
    credential_id=2,
    developers_id=(7, 8),
    sealed_signature_key="sealed",
)
SHOP = LaunchedProject(
    project_id=3,
    name="Shop",
    owner_alias="Ivan",
    alias="shop",
    repository="https://forge.example/shop.git",
    branch="main",
    spec_file_path="/spec.yaml",
)
secret_created = SecretCreated(secret_id=4, name="TOKEN", sealed_value="sealed")


def recorded(event: Event) -> RecordedEvent[Any]:
    return RecordedEvent("stream-1", 1, 0, event, CommandMetadata("c1", AT))


def project_after(*events: Event) -> ProjectRow:
    return reduce(lambda row, event: apply_project_event(row, recorded(event)), events, ProjectRow())


def secret_after(*events: SecretEvent) -> SecretRow:
    return reduce(lambda row, event: apply_secret_event(row, recorded(event)), events, SecretRow())


def steps_after(*events: BuildPlanned) -> StepsRow:
    return reduce(lambda row, event: apply_build_planned(row, recorded(event)), events, StepsRow())


def test_the_project_view_follows_the_events() -> None:
    row = project_after(
        created,
        ProjectRenamed(project_id=3, name="Store"),
        ProjectSecretsSet(project_id=3, secrets_id=(4,), attached=(4,)),
        ProjectMoved(project_id=3, owner_alias="Olga", alias="store"),
    )
    view = to_project_view(row, BuildActivity(), (4,), None)
    assert (row.owner_key, view.owner_alias, view.alias, view.name) == ("olga", "Olga", "store", "Store")
    assert (view.id, view.secrets_id, view.developers_id, view.created_at) == (3, (4,), (7, 8), AT)
    assert (view.last_build, view.available_steps, view.builds_id) == (LastBuild(), (), ())
    assert "sealed" not in view.model_dump_json()


def test_deleted_aggregates_have_no_row() -> None:
    assert project_category.is_deleted(project_after(created, ProjectDeleted(project_id=3)))
    assert secret_category.is_deleted(secret_after(secret_created, SecretDeleted(secret_id=4)))


def test_launch_settings_are_taken_from_the_project() -> None:
    assert to_launch_settings(project_after(created), allowed=True) == LaunchSettings(
        allowed=True,
        project_id=3,
        name="Shop",
        owner_alias="Ivan",
        alias="shop",
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        keep_number_build=None,
        allow_concurrent_execution=False,
        developers_id=(7, 8),
        protected_branches=("main",),
        credential_id=2,
    )


@pytest.mark.parametrize(
    ("event", "protected"),
    [
        (ProjectBranchChanged(project_id=3, branch="develop"), ("develop",)),
        (ProjectBranchChanged(project_id=3, branch="*"), ("main", "master")),
        (ProjectBranchesProtected(project_id=3, protected_branches=("v*",)), ("v*",)),
    ],
)
def test_the_branch_of_a_project_is_protected_unless_others_are_named(event: Event, protected: tuple[str, ...]) -> None:
    assert project_after(created, event).effective_protected_branches == protected


def test_the_secret_view_does_not_contain_the_value() -> None:
    row = secret_after(
        secret_created,
        SecretValueChanged(secret_id=4, sealed_value="sealed-2"),
        SecretAttached(secret_id=4, project_id=3),
        SecretRevealed(secret_id=4),
    )
    view = to_secret_view(row)
    assert row.sealed_value == "sealed-2"
    assert (view.id, view.name, view.value, view.projects_id, view.is_global) == (4, "TOKEN", None, (3,), False)


def test_a_secret_detached_from_its_last_project_stays_private() -> None:
    lost = SecretDetached(secret_id=4, project_id=3)
    assert secret_after(secret_created).scope == "PUBLIC"
    assert secret_after(secret_created, SecretAttached(secret_id=4, project_id=3), lost).scope == "PRIVATE"


def test_project_events_attach_and_detach_secrets() -> None:
    secrets_set = recorded(ProjectSecretsSet(project_id=3, secrets_id=(4, 5), attached=(5,), detached=(6,)))
    project_deleted = recorded(ProjectDeleted(project_id=3, secrets_id=(4,)))
    assert on_project_event(secrets_set) == [
        AttachSecret(secret_id=5, project_id=3),
        DetachSecret(secret_id=6, project_id=3),
    ]
    assert on_project_event(project_deleted) == [DetachSecret(secret_id=4, project_id=3)]
    assert on_project_event(recorded(created)) == []


def planned(build_id: int, *steps: str) -> BuildPlanned:
    return BuildPlanned(
        build_id=build_id, project_id=3, project=SHOP, sha="s", ref="main", available_steps=steps, jobs=()
    )


def test_the_available_steps_are_those_of_the_newest_build() -> None:
    assert steps_after(planned(12, "@b"), planned(11, "@a")).available_steps == ("@b",)
    assert steps_after(planned(11, "@a"), planned(12, "@b")).available_steps == ("@b",)


def test_the_steps_projection_ignores_other_build_events() -> None:
    assert project_steps_projection.row_key(recorded(created)) is None
    assert project_steps_projection.row_key(recorded(planned(11))) == "project-3"
    assert finished_builds_projection.row_key(recorded(planned(11))) is None
