"""The schedule aggregate: the times at which builds of a project are launched, and their branch and variables.

The runs of a schedule are not events of its stream.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from contracts.messages import Payload
from contracts.projects import (
    ChangeSchedule,
    CreateSchedule,
    DeleteSchedule,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleEvent,
)
from libs.branch_names import BRANCH_REF_PREFIX, is_branch_name
from libs.eventstore.decider import Decider, RequestRejected
from libs.launches.variable_rules import check_variables
from services.projects.domain.internal_commands import AddSchedule
from services.projects.domain.schedules.cron import validate_cron, validate_zone

ScheduleCommand = AddSchedule | ChangeSchedule | DeleteSchedule


@dataclass(frozen=True, slots=True)
class Schedule:
    """State of a schedule. `settings` is the event that would create it in its current state."""

    settings: ScheduleCreated | None = None
    deleted: bool = False


def decide(schedule: Schedule, command: ScheduleCommand) -> list[ScheduleEvent]:
    settings = schedule.settings
    match command:
        case AddSchedule() if schedule == Schedule():
            return [ScheduleCreated(**vars(command) | validate_settings(command))]
        case AddSchedule() if settings:
            raise RequestRejected("CONFLICT", "This schedule already exists.")
        case _ if settings is None or settings.project_id != command.project_id:
            raise RequestRejected("SCHEDULE_NOT_FOUND")
        case ChangeSchedule():
            return make_change(settings, command)
        case DeleteSchedule():
            return [ScheduleDeleted(schedule_id=settings.schedule_id, project_id=settings.project_id)]
        case _:
            raise RequestRejected("SCHEDULE_NOT_FOUND")


def make_change(settings: ScheduleCreated, command: ChangeSchedule) -> list[ScheduleEvent]:
    """Return the event with the fields that the command changes; no event without a change."""
    sent = {name: getattr(command, name) for name in command.model_fields_set & VALIDATORS.keys()}
    changed = {
        name: value
        for name, value in ((name, VALIDATORS[name](value)) for name, value in sent.items())
        if value != getattr(settings, name)
    }
    if not changed:
        return []
    return [ScheduleChanged(schedule_id=settings.schedule_id, project_id=settings.project_id, **changed)]


def validate_settings(command: AddSchedule | CreateSchedule) -> Payload:
    """Return the valid settings of a new schedule. They are checked in the order of VALIDATORS."""
    return {name: validate(getattr(command, name)) for name, validate in VALIDATORS.items()}


def _validate_branch(text: str | None) -> str | None:
    """Return the name of the branch without `refs/heads/`, or None for the branch of the project."""
    branch = (text or "").strip().removeprefix(BRANCH_REF_PREFIX)
    if branch and not is_branch_name(branch):
        raise RequestRejected("SCHEDULE_BRANCH_INVALID")
    return branch or None


def _validate_variables(variables: Any) -> Any:
    check_variables(variables or ())
    return variables or ()


def _validate_description(text: str | None) -> str:
    description = (text or "").strip()
    if not description.isprintable():
        raise RequestRejected("REQUEST_INVALID", "A description cannot contain line breaks or control characters.")
    return description


VALIDATORS: dict[str, Any] = {
    "cron": validate_cron,
    "zone": validate_zone,
    "branch": _validate_branch,
    "variables": _validate_variables,
    "description": _validate_description,
    "active": lambda active: active is not False,
}
"""Functions that validate the value of a field and return its normal form, by field. None becomes the default."""


def evolve(schedule: Schedule, event: ScheduleEvent) -> Schedule:
    match event:
        case ScheduleCreated():
            return Schedule(event)
        case ScheduleChanged():
            return Schedule(schedule.settings.replace(**changed_fields(event)) if schedule.settings else None)
        case ScheduleDeleted():
            return Schedule(deleted=True)
        case _:
            assert_never(event)


def changed_fields(event: ScheduleChanged) -> Payload:
    """Return the fields that the event sets, with their values as Python objects."""
    return {name: getattr(event, name) for name in event.model_fields_set}


schedule_decider = Decider[ScheduleCommand, Schedule, ScheduleEvent](
    commands=(AddSchedule, ChangeSchedule, DeleteSchedule),
    stream=lambda command: f"schedule-{command.schedule_id}",
    initial=Schedule(),
    decide=decide,
    evolve=evolve,
    initial_commands=(AddSchedule,),
)
