"""What may happen to secrets, and which projects have them."""

import pytest

from contracts.projects import (
    AttachSecret,
    ChangeEscapedCharacters,
    ChangeSecretValue,
    ChooseSecretProjects,
    CreateSecret,
    DeleteSecret,
    DetachSecret,
    LabelSecret,
    RecordSecretLook,
    RenameSecret,
    SecretAttached,
    SecretCommand,
    SecretCreated,
    SecretDeleted,
    SecretDetached,
    SecretEscapedCharactersChanged,
    SecretEvent,
    SecretLabelled,
    SecretProjectsChosen,
    SecretRenamed,
    SecretRevealed,
    SecretValueChanged,
)
from libs.testing.scenario import Scenario
from services.projects.domain.secret import Secret, evolve, secret_decider

create = CreateSecret(name="TOKEN", secret_id=4, sealed_value="sealed")
created = SecretCreated(secret_id=4, name="TOKEN", sealed_value="sealed")
attached = SecretAttached(secret_id=4, project_id=3)
detached = SecretDetached(secret_id=4, project_id=3)
deleted = SecretDeleted(secret_id=4)

secret = Scenario(secret_decider)


def test_a_secret_is_created_with_tidy_values() -> None:
    wish = create.but(name=" TOKEN ", env=" prod ", escape_char="$,!", projects_id=(3, 2, 3))
    secret.when(wish).then(created.but(env="prod", escape_char="$,!", projects_id=(2, 3)))


@pytest.mark.parametrize("name", [None, "", " "])
def test_a_secret_needs_a_name(name: str | None) -> None:
    secret.when(create.but(name=name)).then_refused("SECRET_NAME_REQUIRED")


@pytest.mark.parametrize("name", ["1A", "A-B", "A B", "A=B", "Ключ"])
def test_the_name_is_that_of_a_variable(name: str) -> None:
    secret.when(create.but(name=name)).then_refused("SECRET_NAME_INVALID")


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (RenameSecret(secret_id=4, name="KEY"), SecretRenamed(secret_id=4, name="KEY")),
        (ChangeSecretValue(secret_id=4, sealed_value="s2"), SecretValueChanged(secret_id=4, sealed_value="s2")),
        (LabelSecret(secret_id=4, env="test"), SecretLabelled(secret_id=4, env="test")),
        (
            ChangeEscapedCharacters(secret_id=4, escape_char=",$,!,"),
            SecretEscapedCharactersChanged(secret_id=4, escape_char="$,!"),
        ),
        (ChooseSecretProjects(secret_id=4, projects_id=(3,)), SecretProjectsChosen(secret_id=4, projects_id=(3,))),
        (AttachSecret(secret_id=4, project_id=3), attached),
        (DetachSecret(secret_id=4, project_id=3), detached),
        (RecordSecretLook(secret_id=4), SecretRevealed(secret_id=4)),
        (DeleteSecret(secret_id=4), deleted),
    ],
)
def test_a_wish_becomes_one_event(command: SecretCommand, event: SecretEvent) -> None:
    secret.given(created).when(command).then(event)


def test_what_a_project_wishes_of_a_deleted_secret_is_nothing() -> None:
    secret.given(created, deleted).when(AttachSecret(secret_id=4, project_id=3)).then()
    secret.given(created, deleted).when(DetachSecret(secret_id=4, project_id=3)).then()


def test_a_deleted_secret_is_over() -> None:
    secret.given(created, deleted).when(RenameSecret(secret_id=4, name="X")).then_refused("SECRET_NOT_FOUND")
    secret.given(created, deleted).when(create).then_refused("SECRET_NOT_FOUND")


def test_a_secret_of_a_project_is_not_deleted() -> None:
    secret.given(created, attached).when(DeleteSecret(secret_id=4)).then_refused("SECRET_PROJECTS_NOT_EMPTY")


def test_a_secret_without_projects_is_global_from_the_start() -> None:
    assert evolve(Secret(), created).is_global


def test_a_secret_that_lost_its_last_project_is_not_global() -> None:
    lost = evolve(evolve(evolve(Secret(), created), attached), detached)
    assert (lost.projects_id, lost.is_global) == ((), False)


def test_emptying_the_list_on_purpose_makes_a_secret_global() -> None:
    purpose = SecretProjectsChosen(secret_id=4, projects_id=())
    secret.given(created, attached).when(ChooseSecretProjects(secret_id=4, projects_id=())).then(purpose)
    secret.given(created, attached, detached).when(ChooseSecretProjects(secret_id=4, projects_id=())).then(purpose)
    secret.given(created).when(ChooseSecretProjects(secret_id=4, projects_id=())).then()
