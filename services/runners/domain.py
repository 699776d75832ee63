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
    NoteRunnerInfo,
    OwnerType,
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
    RunnerRegistered,
    RunnerSettings,
    RunnerShutDown,
    RunnerTokenReset,
    ShutDownRunner,
    WithdrawRegistrationToken,
)
from libs.deciding import Decider, Refused

LONGEST_TEXT = 255
LONGEST_DESCRIPTION = 4096
MOST_TAGS = 100
LONGEST_TIMEOUT = 10**9


class Life(StrEnum):
    NEW = "new"
    REGISTERED = "registered"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Runner:
    """Only what `decide` needs. What people read lives in views.py."""

    life: Life = Life.NEW
    id: int = 0
    settings: RunnerSettings = field(default_factory=RunnerSettings)
    info: RunnerInfo = field(default_factory=RunnerInfo)
    online: bool = False


def settings_of(source: RunnerSettings) -> RunnerSettings:
    """The settings alone, out of a command, an event or a row that holds them."""
    return RunnerSettings(**{name: getattr(source, name) for name in RunnerSettings.model_fields})


def checked(settings: RunnerSettings) -> RunnerSettings:
    """The settings in the form in which they are kept. Raises Refused for what no runner can have."""
    name = settings.name.strip()
    tags = tuple(dict.fromkeys(tag.strip() for tag in settings.tags if tag.strip()))
    timeout = settings.max_timeout_seconds or None
    if not name:
        raise Refused("RUNNER_INVALID", "A runner needs a name.")
    if max(map(len, (name, *tags))) > LONGEST_TEXT:
        raise Refused("RUNNER_INVALID", f"A name or a tag has at most {LONGEST_TEXT} characters.")
    if len(settings.description) > LONGEST_DESCRIPTION or len(tags) > MOST_TAGS:
        raise Refused(
            "RUNNER_INVALID", f"At most {LONGEST_DESCRIPTION} characters of description and {MOST_TAGS} tags."
        )
    if timeout is not None and not 0 < timeout <= LONGEST_TIMEOUT:
        raise Refused("RUNNER_INVALID", f"The longest time of a job is 0 (no limit) to {LONGEST_TIMEOUT} seconds.")
    return settings.but(name=name, description=settings.description.strip(), tags=tags, max_timeout_seconds=timeout)


def edited(settings: RunnerSettings, command: EditRunner) -> RunnerSettings:
    given = {name: getattr(command, name) for name in RunnerSettings.model_fields}
    return checked(settings.but(**{name: value for name, value in given.items() if value is not None}))


def decide(runner: Runner, command: RunnerCommand) -> Sequence[RunnerEvent]:
    uuid = command.runner_uuid
    here = {"runner_uuid": uuid, "runner_id": runner.id, "name": runner.settings.name}
    match runner.life, command:
        case Life.NEW, RecordRunner():
            return [registered(command)]
        case _, RecordRunner():
            return []  # the same registration again
        case Life.DELETED, (NoteRunnerInfo() | MarkRunnerOnline() | MarkRunnerOffline()):
            return []  # its last call crossed the deletion
        case Life.REGISTERED, EditRunner():
            settings = edited(runner.settings, command)
            if settings == runner.settings:
                return []
            return [RunnerEdited(runner_uuid=uuid, runner_id=runner.id, **dict(settings))]
        case Life.REGISTERED, ShutDownRunner():
            return [RunnerShutDown(**here)] if runner.settings.active else []
        case Life.REGISTERED, DeleteRunner():
            return [RunnerDeleted(**here)]
        case Life.REGISTERED, RecordRunnerToken(token_hash=token_hash):
            return [RunnerTokenReset(runner_uuid=uuid, runner_id=runner.id, token_hash=token_hash)]
        case Life.REGISTERED, MarkRunnerOnline():
            return [] if runner.online else [RunnerOnline(**here)]
        case Life.REGISTERED, MarkRunnerOffline():
            return [RunnerOffline(**here)] if runner.online else []
        case Life.REGISTERED, NoteRunnerInfo(info=info):
            return [] if info == runner.info else [RunnerInfoChanged(**here, info=info)]
        case _:
            raise Refused("RUNNER_NOT_FOUND")


def registered(command: RecordRunner) -> RunnerRegistered:
    return RunnerRegistered(
        runner_uuid=command.runner_uuid,
        runner_id=command.runner_id,
        token_hash=command.token_hash,
        owner_type=command.owner_type,
        owner_id=command.owner_id,
        info=command.info,
        **dict(checked(settings_of(command))),
    )


def evolve(runner: Runner, event: RunnerEvent) -> Runner:
    match event:
        case RunnerRegistered(runner_id=id):
            return Runner(Life.REGISTERED, id, settings_of(event), event.info)
        case RunnerEdited():
            return replace(runner, settings=settings_of(event))
        case RunnerInfoChanged(info=info):
            return replace(runner, info=info)
        case RunnerShutDown():
            return replace(runner, settings=runner.settings.but(active=False))
        case RunnerOnline():
            return replace(runner, online=True)
        case RunnerOffline():
            return replace(runner, online=False)
        case RunnerTokenReset():
            return runner
        case RunnerDeleted():
            return replace(runner, life=Life.DELETED)
        case _:
            assert_never(event)


runner_decider = Decider[RunnerCommand, Runner, RunnerEvent](
    commands=(
        RecordRunner,
        EditRunner,
        ShutDownRunner,
        DeleteRunner,
        RecordRunnerToken,
        NoteRunnerInfo,
        MarkRunnerOnline,
        MarkRunnerOffline,
    ),
    stream=lambda command: runner_stream(command.runner_uuid),
    initial=Runner(),
    decide=decide,
    evolve=evolve,
    creates=(RecordRunner,),
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
            raise Refused(f"{command.scope.partition('-')[0].upper()}_NOT_FOUND")
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


def owner(scope: str) -> tuple[OwnerType, int | None]:
    """Whose runners the scope's token makes: "company-4" -> COMPANY 4."""
    match scope.partition("-"):
        case "company", _, id:
            return "COMPANY", int(id)
        case "project", _, id:
            return "PROJECT", int(id)
        case _:
            return "GLOBAL", None
