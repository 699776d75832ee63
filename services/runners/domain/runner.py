"""What may happen to a runner, and to the registration token of a scope."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from contracts.runners import (
    DeleteRunner,
    EditRunner,
    IssueRegistrationToken,
    MarkRunnerOffline,
    MarkRunnerOnline,
    OwnerType,
    PauseRunner,
    RecordRunner,
    RecordRunnerToken,
    RegistrationCommand,
    RegistrationEvent,
    RegistrationTokenReset,
    RegistrationTokenWithdrawn,
    ResetRegistrationToken,
    RunnerCommand,
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
    UpdateRunnerInfo,
    WithdrawRegistrationToken,
)
from libs.eventstore.decider import Decider, RequestRejected

MAX_TEXT_LENGTH = 255
MAX_DESCRIPTION_LENGTH = 4096
MAX_TAGS = 100
MAX_TIMEOUT_SECONDS = 10**9


class RunnerState(StrEnum):
    NEW = "new"
    REGISTERED = "registered"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Runner:
    """Only what `decide` needs. What people read lives in views.py."""

    state: RunnerState = RunnerState.NEW
    id: int = 0
    settings: RunnerSettings = field(default_factory=RunnerSettings)
    info: RunnerInfo = field(default_factory=RunnerInfo)
    online: bool = False


def extract_settings(source: RunnerSettings) -> RunnerSettings:
    """The settings alone, out of a command, an event or a row that holds them."""
    return RunnerSettings(**{name: getattr(source, name) for name in RunnerSettings.model_fields})


def validate_settings(settings: RunnerSettings) -> RunnerSettings:
    """The settings in the form in which they are kept. Raises Refused for what no runner can have."""
    name = settings.name.strip()
    tags = tuple(dict.fromkeys(tag.strip() for tag in settings.tags if tag.strip()))
    timeout = settings.max_timeout_seconds or None
    if not name:
        raise RequestRejected("RUNNER_INVALID", "A runner needs a name.")
    if max(map(len, (name, *tags))) > MAX_TEXT_LENGTH:
        raise RequestRejected("RUNNER_INVALID", f"A name or a tag has at most {MAX_TEXT_LENGTH} characters.")
    if len(settings.description) > MAX_DESCRIPTION_LENGTH or len(tags) > MAX_TAGS:
        raise RequestRejected(
            "RUNNER_INVALID", f"At most {MAX_DESCRIPTION_LENGTH} characters of description and {MAX_TAGS} tags."
        )
    if timeout is not None and not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise RequestRejected(
            "RUNNER_INVALID", f"The longest time of a job is 0 (no limit) to {MAX_TIMEOUT_SECONDS} seconds."
        )
    return settings.replace(name=name, description=settings.description.strip(), tags=tags, max_timeout_seconds=timeout)


def apply_edit(settings: RunnerSettings, command: EditRunner) -> RunnerSettings:
    given = {name: getattr(command, name) for name in RunnerSettings.model_fields}
    return validate_settings(settings.replace(**{name: value for name, value in given.items() if value is not None}))


def decide(runner: Runner, command: RunnerCommand) -> Sequence[RunnerEvent]:
    uuid = command.runner_uuid
    here = {"runner_uuid": uuid, "runner_id": runner.id, "name": runner.settings.name}
    match runner.state, command:
        case RunnerState.NEW, RecordRunner():
            return [make_runner_registered(command)]
        case _, RecordRunner():
            return []  # the same registration again
        case RunnerState.DELETED, (UpdateRunnerInfo() | MarkRunnerOnline() | MarkRunnerOffline()):
            return []  # its last call crossed the deletion
        case RunnerState.REGISTERED, EditRunner():
            settings = apply_edit(runner.settings, command)
            if settings == runner.settings:
                return []
            return [RunnerEdited(runner_uuid=uuid, runner_id=runner.id, **dict(settings))]
        case RunnerState.REGISTERED, PauseRunner():
            return [RunnerPaused(**here)] if runner.settings.active else []
        case RunnerState.REGISTERED, DeleteRunner():
            return [RunnerDeleted(**here)]
        case RunnerState.REGISTERED, RecordRunnerToken(token_hash=token_hash):
            return [RunnerTokenReset(runner_uuid=uuid, runner_id=runner.id, token_hash=token_hash)]
        case RunnerState.REGISTERED, MarkRunnerOnline():
            return [] if runner.online else [RunnerOnline(**here)]
        case RunnerState.REGISTERED, MarkRunnerOffline():
            return [RunnerOffline(**here)] if runner.online else []
        case RunnerState.REGISTERED, UpdateRunnerInfo(info=info):
            return [] if info == runner.info else [RunnerInfoChanged(**here, info=info)]
        case _:
            raise RequestRejected("RUNNER_NOT_FOUND")


def make_runner_registered(command: RecordRunner) -> RunnerRegistered:
    return RunnerRegistered(
        runner_uuid=command.runner_uuid,
        runner_id=command.runner_id,
        token_hash=command.token_hash,
        owner_type=command.owner_type,
        owner_id=command.owner_id,
        info=command.info,
        **dict(validate_settings(extract_settings(command))),
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
        RecordRunner,
        EditRunner,
        PauseRunner,
        DeleteRunner,
        RecordRunnerToken,
        UpdateRunnerInfo,
        MarkRunnerOnline,
        MarkRunnerOffline,
    ),
    stream=lambda command: runner_stream(command.runner_uuid),
    initial=Runner(),
    decide=decide,
    evolve=evolve,
    initial_commands=(RecordRunner,),
)


def runner_stream(uuid: str) -> str:
    return f"runner-{uuid}"


@dataclass(frozen=True, slots=True)
class Registration:
    issued: bool = False
    withdrawn: bool = False


def decide_registration(registration: Registration, command: RegistrationCommand) -> Sequence[RegistrationEvent]:
    match command:
        case WithdrawRegistrationToken(scope=scope):
            return [] if registration.withdrawn else [RegistrationTokenWithdrawn(scope=scope)]
        case _ if registration.withdrawn:
            raise RequestRejected(f"{command.scope.partition('-')[0].upper()}_NOT_FOUND")
        case IssueRegistrationToken() if registration.issued:
            return []
        case IssueRegistrationToken() | ResetRegistrationToken():
            return [
                RegistrationTokenReset(
                    scope=command.scope, token_hash=command.token_hash, token_sealed=command.token_sealed
                )
            ]


def evolve_registration(_registration: Registration, event: RegistrationEvent) -> Registration:
    return Registration(issued=True, withdrawn=isinstance(event, RegistrationTokenWithdrawn))


registration_decider = Decider[RegistrationCommand, Registration, RegistrationEvent](
    commands=(IssueRegistrationToken, ResetRegistrationToken, WithdrawRegistrationToken),
    stream=lambda command: registration_stream(command.scope),
    initial=Registration(),
    decide=decide_registration,
    evolve=evolve_registration,
)


def registration_stream(scope: str) -> str:
    return f"registration-{scope}"


def parse_scope(scope: str) -> tuple[OwnerType, int | None]:
    """Whose runners the scope's token makes: "company-4" -> COMPANY 4."""
    match scope.partition("-"):
        case "company", _, id:
            return "COMPANY", int(id)
        case "project", _, id:
            return "PROJECT", int(id)
        case _:
            return "GLOBAL", None
