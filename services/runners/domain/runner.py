"""The runner aggregate: registration, settings, info, online status and deletion of a runner."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from contracts.runners import (
    DeleteRunner,
    EditRunner,
    PauseRunner,
    RunnerDeleted,
    RunnerEdited,
    RunnerEvent,
    RunnerInfo,
    RunnerInfoChanged,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
    RunnerSettings,
    RunnerTokenReset,
)
from libs.eventstore.decider import Decider, RequestRejected
from services.runners.domain.internal_commands import (
    AddRunner,
    MarkRunnerOffline,
    MarkRunnerOnline,
    SetRunnerToken,
    UpdateRunnerInfo,
)

MAX_TEXT_LENGTH = 255
MAX_DESCRIPTION_LENGTH = 4096
MAX_TAGS = 100
MAX_TIMEOUT_SECONDS = 10**9

RunnerCommand = (
    AddRunner
    | EditRunner
    | PauseRunner
    | DeleteRunner
    | SetRunnerToken
    | UpdateRunnerInfo
    | MarkRunnerOnline
    | MarkRunnerOffline
)


class RunnerState(StrEnum):
    NEW = "new"
    REGISTERED = "registered"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Runner:
    """State of a runner: only what `decide` needs. The read model is in projections.py."""

    state: RunnerState = RunnerState.NEW
    id: int = 0
    settings: RunnerSettings = field(default_factory=RunnerSettings)
    info: RunnerInfo = field(default_factory=RunnerInfo)
    online: bool = False


def extract_settings(source: RunnerSettings) -> RunnerSettings:
    """Return the settings contained in a command, an event or a row."""
    return RunnerSettings(**{name: getattr(source, name) for name in RunnerSettings.model_fields})


def validate_settings(settings: RunnerSettings) -> RunnerSettings:
    """Return the normalized settings. Raises RequestRejected for invalid ones."""
    name = settings.name.strip()
    tags = tuple(dict.fromkeys(tag.strip() for tag in settings.tags if tag.strip()))
    timeout = settings.max_timeout_seconds or None
    if not name:
        raise RequestRejected("RUNNER_INVALID", "A runner needs a name.")
    if max(map(len, (name, *tags))) > MAX_TEXT_LENGTH:
        raise RequestRejected("RUNNER_INVALID", f"A name or a tag has at most {MAX_TEXT_LENGTH} characters.")
    if len(settings.description) > MAX_DESCRIPTION_LENGTH or len(tags) > MAX_TAGS:
        raise RequestRejected(
            "RUNNER_INVALID",
            f"A description has at most {MAX_DESCRIPTION_LENGTH} characters, a runner at most {MAX_TAGS} tags.",
        )
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise RequestRejected("RUNNER_INVALID", f"The job timeout is 0 (no limit) to {MAX_TIMEOUT_SECONDS} seconds.")
    return settings.replace(name=name, description=settings.description.strip(), tags=tags, max_timeout_seconds=timeout)


def apply_edit(settings: RunnerSettings, command: EditRunner) -> RunnerSettings:
    """Return the settings with the fields of the command that are not None. Raises RequestRejected for invalid ones."""
    values = {name: getattr(command, name) for name in RunnerSettings.model_fields}
    return validate_settings(settings.replace(**{name: value for name, value in values.items() if value is not None}))


def decide(runner: Runner, command: RunnerCommand) -> Sequence[RunnerEvent]:
    uuid = command.runner_uuid
    identity = {"runner_uuid": uuid, "runner_id": runner.id, "name": runner.settings.name}
    match runner.state, command:
        case RunnerState.NEW, AddRunner():
            return [make_runner_registered(command)]
        case _, AddRunner():
            return []  # a repeated registration
        case RunnerState.DELETED, (UpdateRunnerInfo() | MarkRunnerOnline() | MarkRunnerOffline()):
            return []  # sent before the deletion
        case RunnerState.REGISTERED, EditRunner():
            settings = apply_edit(runner.settings, command)
            if settings == runner.settings:
                return []
            return [RunnerEdited(runner_uuid=uuid, runner_id=runner.id, **dict(settings))]
        case RunnerState.REGISTERED, PauseRunner():
            return [RunnerPaused(**identity)] if runner.settings.active else []
        case RunnerState.REGISTERED, DeleteRunner():
            return [RunnerDeleted(**identity)]
        case RunnerState.REGISTERED, SetRunnerToken(token_hash=token_hash):
            return [RunnerTokenReset(runner_uuid=uuid, runner_id=runner.id, token_hash=token_hash)]
        case RunnerState.REGISTERED, MarkRunnerOnline():
            return [] if runner.online else [RunnerOnline(**identity)]
        case RunnerState.REGISTERED, MarkRunnerOffline():
            return [RunnerOffline(**identity)] if runner.online else []
        case RunnerState.REGISTERED, UpdateRunnerInfo(info=info):
            return [] if info == runner.info else [RunnerInfoChanged(**identity, info=info)]
        case _:
            raise RequestRejected("RUNNER_NOT_FOUND")


def make_runner_registered(command: AddRunner) -> RunnerRegistered:
    return RunnerRegistered(
        runner_uuid=command.runner_uuid,
        runner_id=command.runner_id,
        token_hash=command.token_hash,
        owner_type=command.owner_type,
        owner_id=command.owner_id,
        info=command.info,
        **dict(validate_settings(command.settings)),
    )


def evolve(runner: Runner, event: RunnerEvent) -> Runner:
    match event:
        case RunnerRegistered(runner_id=id):
            return Runner(RunnerState.REGISTERED, id, extract_settings(event), event.info)
        case RunnerEdited():
            return replace(runner, settings=extract_settings(event))
        case RunnerInfoChanged(info=info):
            return replace(runner, info=info)
        case RunnerPaused():
            return replace(runner, settings=runner.settings.replace(active=False))
        case RunnerOnline():
            return replace(runner, online=True)
        case RunnerOffline():
            return replace(runner, online=False)
        case RunnerTokenReset():
            return runner
        case RunnerDeleted():
            return replace(runner, state=RunnerState.DELETED)
        case _:
            assert_never(event)


runner_decider = Decider[RunnerCommand, Runner, RunnerEvent](
    commands=(
        AddRunner,
        EditRunner,
        PauseRunner,
        DeleteRunner,
        SetRunnerToken,
        UpdateRunnerInfo,
        MarkRunnerOnline,
        MarkRunnerOffline,
    ),
    stream=lambda command: runner_stream(command.runner_uuid),
    initial=Runner(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddRunner,),
)


def runner_stream(uuid: str) -> str:
    return f"runner-{uuid}"
