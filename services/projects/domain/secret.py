"""The secret aggregate: a named value and the projects that may use it. Only the encrypted value is stored."""

import re
from dataclasses import dataclass, replace
from typing import assert_never

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
from libs.eventstore.decider import Decider, RequestRejected
from libs.normalization import blank_to_none, sort_unique
from services.projects.domain.internal_commands import AddSecret, AttachSecret, DetachSecret, SetSecretValue
from services.projects.domain.validation import require_line

VARIABLE_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

SecretCommand = (
    AddSecret
    | RenameSecret
    | SetSecretValue
    | SetSecretEnvironment
    | ChangeEscapedCharacters
    | SetSecretProjects
    | AttachSecret
    | DetachSecret
    | RevealSecret
    | DeleteSecret
)


@dataclass(frozen=True, slots=True)
class Secret:
    exists: bool = False
    deleted: bool = False
    name: str = ""
    env: str | None = None
    escape_char: str | None = None
    projects_id: tuple[int, ...] = ()
    # every project may use the secret: its list of projects was set to empty, and not only emptied by detaching
    is_global: bool = False


def decide(secret: Secret, command: SecretCommand) -> list[SecretEvent]:
    id_ = command.secret_id
    match secret.exists, command:
        case False, AddSecret() if not secret.deleted:
            return [make_secret_created(command)]
        case False, (AttachSecret() | DetachSecret()):
            return []  # deleted while a project selected it
        case False, _:
            raise RequestRejected("SECRET_NOT_FOUND")
        case _, RenameSecret(name=name):
            name = validate_variable_name(name)
            return [SecretSettingsChanged(secret_id=id_, name=name)] if name != secret.name else []
        case _, SetSecretValue(sealed_value=sealed):
            return [SecretValueChanged(secret_id=id_, sealed_value=sealed)]
        case _, SetSecretEnvironment(env=env):
            env = blank_to_none(env)
            return [SecretSettingsChanged(secret_id=id_, env=env)] if env != secret.env else []
        case _, ChangeEscapedCharacters(escape_char=characters):
            characters = (characters or "").removeprefix(",").removesuffix(",") or None
            changed = SecretSettingsChanged(secret_id=id_, escape_char=characters)
            return [changed] if characters != secret.escape_char else []
        case _, SetSecretProjects(projects_id=ids):
            chosen = SecretProjectsSet(secret_id=id_, projects_id=sort_unique(ids))
            return [chosen] if evolve(secret, chosen) != secret else []
        case _, AttachSecret(project_id=project_id):
            # recorded even without a change, so that a late duplicate of the command is recognized
            return [SecretAttached(secret_id=id_, project_id=project_id)]
        case _, DetachSecret(project_id=project_id):
            return [SecretDetached(secret_id=id_, project_id=project_id)]
        case _, RevealSecret():
            return [SecretRevealed(secret_id=id_)]
        case _, DeleteSecret():
            if secret.projects_id:
                raise RequestRejected("SECRET_PROJECTS_NOT_EMPTY")
            return [SecretDeleted(secret_id=id_)]
        case _:
            raise RequestRejected("CONFLICT", "This secret already exists.")


def evolve(secret: Secret, event: SecretEvent) -> Secret:
    match event:
        case SecretCreated(name=name, env=env, escape_char=characters, projects_id=ids):
            return Secret(True, False, name, env, characters, ids, is_global=not ids)
        case SecretSettingsChanged():
            return replace(secret, **event.model_dump(exclude={"secret_id"}))
        case SecretRenamed(name=name):
            return replace(secret, name=name)
        case SecretEnvironmentChanged(env=env):
            return replace(secret, env=env)
        case SecretEscapedCharactersChanged(escape_char=characters):
            return replace(secret, escape_char=characters)
        case SecretProjectsSet(projects_id=ids):
            return replace(secret, projects_id=ids, is_global=not ids)
        case SecretAttached(project_id=project_id):
            return replace(secret, projects_id=add_project(secret.projects_id, project_id), is_global=False)
        case SecretDetached(project_id=project_id):
            return replace(secret, projects_id=remove_project(secret.projects_id, project_id))
        case SecretDeleted():
            return Secret(deleted=True)
        case SecretValueChanged() | SecretRevealed():
            return secret
        case _:
            assert_never(event)


def add_project(ids: tuple[int, ...], project_id: int) -> tuple[int, ...]:
    return sort_unique((*ids, project_id))


def remove_project(ids: tuple[int, ...], project_id: int) -> tuple[int, ...]:
    return tuple(other for other in ids if other != project_id)


def make_secret_created(command: AddSecret) -> SecretCreated:
    return SecretCreated(
        secret_id=command.secret_id,
        name=validate_variable_name(command.name),
        sealed_value=command.sealed_value,
        env=blank_to_none(command.env),
        escape_char=command.escape_char or None,
        projects_id=sort_unique(command.projects_id),
    )


def validate_variable_name(text: str | None) -> str:
    name = require_line(text, "SECRET_NAME_REQUIRED")
    if not VARIABLE_PATTERN.fullmatch(name):
        raise RequestRejected("SECRET_NAME_INVALID")
    return name


secret_decider = Decider[SecretCommand, Secret, SecretEvent](
    commands=(
        AddSecret,
        RenameSecret,
        SetSecretValue,
        SetSecretEnvironment,
        ChangeEscapedCharacters,
        SetSecretProjects,
        AttachSecret,
        DetachSecret,
        RevealSecret,
        DeleteSecret,
    ),
    stream=lambda command: f"secret-{command.secret_id}",
    initial=Secret(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddSecret,),
)
