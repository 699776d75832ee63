"""The runners as the queue must know them, kept up from their events; and why none of them takes a job, in words."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from contracts.builds import JobRequirements, RunnerCapabilities
from contracts.messages import ReadModelRow
from contracts.runners import (
    RunnerDeleted,
    RunnerEdited,
    RunnerOffline,
    RunnerOnline,
    RunnerPaused,
    RunnerRegistered,
)
from libs.eventstore.decider import RecordedEvent
from libs.service.declaration import Projection

MAX_NAMED_RUNNERS = 3  # runners in one sentence
SETTING_FIELDS = ("name", "tags", "run_untagged", "protected", "active")


class QueueRunnerRow(RunnerCapabilities, ReadModelRow):
    uuid: str = ""
    name: str = ""
    active: bool = True
    online: bool = False
    deleted: bool = False


def runner_uuid_of(recorded: RecordedEvent[Any]) -> str | None:
    return getattr(recorded.event, "runner_uuid", None)


def apply_runner_event(row: QueueRunnerRow, recorded: RecordedEvent[Any]) -> QueueRunnerRow:
    match recorded.event:
        case RunnerRegistered() as event:
            return QueueRunnerRow(
                uuid=event.runner_uuid, owner_type=event.owner_type, owner_id=event.owner_id, **_setting_values(event)
            )
        case RunnerEdited() as event:
            return row.replace(**_setting_values(event))
        case RunnerPaused():
            return row.replace(active=False)
        case RunnerOnline():
            return row.replace(online=True)
        case RunnerOffline():
            return row.replace(online=False)
        case RunnerDeleted():
            return row.replace(deleted=True)
        case _:
            return row


def _setting_values(event: RunnerRegistered | RunnerEdited) -> dict[str, Any]:
    return {name: getattr(event, name) for name in SETTING_FIELDS}


runner_projection = Projection(
    "fleet", "runners", runner_uuid_of, QueueRunnerRow(), apply_runner_event, is_deleted=lambda row: row.deleted
)

Runners = Sequence[QueueRunnerRow]
EligibilityCheck = tuple[
    Callable[[QueueRunnerRow, JobRequirements, int], bool], Callable[[JobRequirements, Runners], str]
]


def _format_names(runners: Runners) -> str:
    more = len(runners) - MAX_NAMED_RUNNERS
    shown = ", ".join(sorted(one.name for one in runners)[:MAX_NAMED_RUNNERS])
    return f"{shown} and {more} more" if more > 0 else shown


def _missing_tags_reason(requirements: JobRequirements, runners: Runners) -> str:
    nowhere = [tag for tag in requirements.tags if not any(tag in one.tags for one in runners)]
    if nowhere:
        return f"no runner has the {'tag' if len(nowhere) == 1 else 'tags'} {', '.join(nowhere)}"
    return f"no runner has all of its tags: {', '.join(requirements.tags)}"


ELIGIBILITY_CHECKS: Sequence[
    EligibilityCheck
] = (  # one after the other; the words are for the hurdle that the last runners do not take
    (
        lambda runner, asked, project_id: runner.can_serve(project_id, asked.company_id),
        lambda _, runners: "all runners belong to other projects or companies" if runners else "none is registered",
    ),
    (lambda runner, asked, _: set(asked.tags) <= set(runner.tags), _missing_tags_reason),
    (
        lambda runner, asked, _: bool(asked.tags) or runner.run_untagged,
        lambda _, runners: f"it has no tags, and {_format_names(runners)} may only take jobs with tags",
    ),
    (
        lambda runner, asked, _: asked.protected or not runner.protected,
        lambda _, runners: f"its branch is not protected, and {_format_names(runners)} may only take protected ones",
    ),
    (lambda runner, *_: runner.active, lambda _, runners: f"those that fit are switched off: {_format_names(runners)}"),
    (lambda runner, *_: runner.online, lambda _, runners: f"those that fit are offline: {_format_names(runners)}"),
)


def find_eligible_runners(requirements: JobRequirements, project_id: int, runners: Runners) -> tuple[Runners, str]:
    """Who could take such a job now; if nobody, why."""
    for takes, words in ELIGIBILITY_CHECKS:
        left = [one for one in runners if takes(one, requirements, project_id)]
        if not left:
            return [], f"Waits for a runner: {words(requirements, runners)}."
        runners = left
    return runners, ""


def busy_reason(runners: Runners, busy: Collection[str], *, outranked: bool) -> str:
    """What a job waits for although there are runners for it."""
    free = [one for one in runners if one.uuid not in busy]
    if free and not outranked:
        return f"Waits until a runner asks for work: {_format_names(free)}."
    reason = "jobs of a higher priority come first" if outranked else "all that fit are busy"
    return f"Waits for a free runner: {reason} ({_format_names(runners)})."
