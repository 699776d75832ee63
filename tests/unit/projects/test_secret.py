"""Commands to a secret: validation, the projects that may use it, and deletion."""

import pytest

from contracts.projects import (
    ChangeEscapedCharacters,
    DeleteSecret,
    RenameSecret,
    RevealSecret,
    SecretAttached,
    SecretCreated,
    SecretDeleted,
    SecretDetached,
    SecretEnvironmentChanged,
    SecretEscapedCharactersChanged,
    SecretEvent,
    SecretProjectsSet,
    SecretRenamed,
    SecretRevealed,
    SecretSettingsChanged,
    SecretValueChanged,
    SetSecretEnvironment,
    SetSecretProjects,
)
from services.projects.domain.internal_commands import AddSecret, AttachSecret, DetachSecret, SetSecretValue
from services.projects.domain.secret import Secret, SecretCommand, evolve, secret_decider
from tests.support.scenario import Scenario

create = AddSecret(name="TOKEN", secret_id=4, sealed_value="sealed")
created = SecretCreated(secret_id=4, name="TOKEN", sealed_value="sealed")
attached = SecretAttached(secret_id=4, project_id=3)
detached = SecretDetached(secret_id=4, project_id=3)
deleted = SecretDeleted(secret_id=4)

secret = Scenario(secret_decider)


def test_a_secret_is_created_with_trimmed_values() -> None:
    untidy = create.replace(name=" TOKEN ", env=" prod ", escape_char="$,!", projects_id=(3, 2, 3))
    secret.when(untidy).then(created.replace(env="prod", escape_char="$,!", projects_id=(2, 3)))


@pytest.mark.parametrize("name", [None, "", " "])
def test_a_secret_needs_a_name(name: str | None) -> None:
    secret.when(create.replace(name=name)).then_refused("SECRET_NAME_REQUIRED")


@pytest.mark.parametrize("name", ["1A", "A-B", "A B", "A=B", "Ключ"])
def test_a_secret_name_must_be_a_valid_variable_name(name: str) -> None:
    secret.when(create.replace(name=name)).then_refused("SECRET_NAME_INVALID")


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameSecret(secret_id=4, name="KEY"), SecretSettingsChanged(secret_id=4, name="KEY")),
        (SetSecretValue(secret_id=4, sealed_value="s2"), SecretValueChanged(secret_id=4, sealed_value="s2")),
        (SetSecretEnvironment(secret_id=4, env="test"), SecretSettingsChanged(secret_id=4, env="test")),
        (
            ChangeEscapedCharacters(secret_id=4, escape_char=",$,!,"),
            SecretSettingsChanged(secret_id=4, escape_char="$,!"),
        ),
        (SetSecretProjects(secret_id=4, projects_id=(3,)), SecretProjectsSet(secret_id=4, projects_id=(3,))),
        (AttachSecret(secret_id=4, project_id=3), attached),
        (DetachSecret(secret_id=4, project_id=3), detached),
        (RevealSecret(secret_id=4), SecretRevealed(secret_id=4)),
        (DeleteSecret(secret_id=4), deleted),
    ],
)
def test_each_command_records_one_event(command: SecretCommand, event: SecretEvent) -> None:
    secret.given(created).when(command).then(event)


def test_attaching_or_detaching_a_deleted_secret_changes_nothing() -> None:
    secret.given(created, deleted).when(AttachSecret(secret_id=4, project_id=3)).then()
    secret.given(created, deleted).when(DetachSecret(secret_id=4, project_id=3)).then()


def test_a_deleted_secret_cannot_be_changed() -> None:
    secret.given(created, deleted).when(RenameSecret(secret_id=4, name="X")).then_refused("SECRET_NOT_FOUND")
    secret.given(created, deleted).when(create).then_refused("SECRET_NOT_FOUND")


def test_a_secret_attached_to_a_project_cannot_be_deleted() -> None:
    secret.given(created, attached).when(DeleteSecret(secret_id=4)).then_refused("SECRET_PROJECTS_NOT_EMPTY")


def test_a_secret_created_without_projects_is_global() -> None:
    assert evolve(Secret(), created).is_global


def test_a_secret_detached_from_its_last_project_is_not_global() -> None:
    lost = evolve(evolve(evolve(Secret(), created), attached), detached)
    assert (lost.projects_id, lost.is_global) == ((), False)


def test_setting_an_empty_project_list_makes_a_secret_global() -> None:
    purpose = SecretProjectsSet(secret_id=4, projects_id=())
    secret.given(created, attached).when(SetSecretProjects(secret_id=4, projects_id=())).then(purpose)
    secret.given(created, attached, detached).when(SetSecretProjects(secret_id=4, projects_id=())).then(purpose)
    secret.given(created).when(SetSecretProjects(secret_id=4, projects_id=())).then()


@pytest.mark.parametrize(
    "event",
    [
        SecretRenamed(secret_id=4, name="KEY"),
        SecretEnvironmentChanged(secret_id=4, env="test"),
        SecretEscapedCharactersChanged(secret_id=4, escape_char="$"),
    ],
)
def test_an_event_of_an_earlier_release_has_the_effect_of_the_event_that_replaced_it(event: SecretEvent) -> None:
    before = evolve(Secret(), created)
    replacement = SecretSettingsChanged.model_validate(event.model_dump())
    assert evolve(before, event) == evolve(before, replacement) != before
