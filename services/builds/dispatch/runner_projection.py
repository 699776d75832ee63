"""Projection of runners for the queue, and the reason why no runner takes a job."""

from collections.abc import Callable, Collection, Sequence

from contracts.builds import JobRequirements, RunnerCapabilities
from contracts.messages import Event, ReadModelRow
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

MAX_NAMED_RUNNERS = 3  # runners named in the reason why a job waits


class QueueRunnerRow(RunnerCapabilities, ReadModelRow):
    """A runner as the queue needs it: which jobs it accepts, and whether it is active and online."""

    uuid: str = ""
    name: str = ""
    active: bool = True
    online: bool = False
    deleted: bool = False


def runner_uuid_of(recorded: RecordedEvent[Event]) -> str | None:
    return getattr(recorded.event, "runner_uuid", None)


def apply_runner_event(row: QueueRunnerRow, recorded: RecordedEvent[Event]) -> QueueRunnerRow:
    match recorded.event:
        case RunnerRegistered() as event:
            new_row = QueueRunnerRow(uuid=event.runner_uuid, owner_type=event.owner_type, owner_id=event.owner_id)
            return _with_settings(new_row, event)
        case RunnerEdited() as event:
            return _with_settings(row, event)
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


def _with_settings(row: QueueRunnerRow, event: RunnerRegistered | RunnerEdited) -> QueueRunnerRow:
    return row.replace(
        name=event.name,
        tags=event.tags,
        run_untagged=event.run_untagged,
        protected=event.protected,
        active=event.active,
    )


runner_projection = Projection(
    "fleet", "runners", runner_uuid_of, QueueRunnerRow(), apply_runner_event, is_deleted=lambda row: row.deleted
)

Runners = Sequence[QueueRunnerRow]
EligibilityCheck = tuple[
    Callable[[QueueRunnerRow, JobRequirements, int], bool], Callable[[JobRequirements, Runners], str]
]


def _format_names(runners: Runners) -> str:
    more = len(runners) - MAX_NAMED_RUNNERS
    names = ", ".join(sorted(runner.name for runner in runners)[:MAX_NAMED_RUNNERS])
    return f"{names} and {more} more" if more > 0 else names


def _missing_tags_reason(requirements: JobRequirements, runners: Runners) -> str:
    unknown = [tag for tag in requirements.tags if not any(tag in runner.tags for runner in runners)]
    if unknown:
        return f"no runner has the {'tag' if len(unknown) == 1 else 'tags'} {', '.join(unknown)}"
    return f"no runner has all of its tags: {', '.join(requirements.tags)}"


ELIGIBILITY_CHECKS: Sequence[
    EligibilityCheck
] = (  # checked in order; the first check that no remaining runner passes gives the reason
    (
        lambda runner, requirements, project_id: runner.can_serve(project_id, requirements.company_id),
        lambda _, runners: "all runners belong to other projects or companies" if runners else "none is registered",
    ),
    (lambda runner, requirements, _: set(requirements.tags) <= set(runner.tags), _missing_tags_reason),
    (
        lambda runner, requirements, _: bool(requirements.tags) or runner.run_untagged,
        lambda _, runners: f"it has no tags, and {_format_names(runners)} may only take jobs with tags",
    ),
    (
        lambda runner, requirements, _: requirements.protected or not runner.protected,
        lambda _, runners: f"its branch is not protected, and {_format_names(runners)} may only take protected ones",
    ),
    (lambda runner, *_: runner.active, lambda _, runners: f"those that fit are paused: {_format_names(runners)}"),
    (lambda runner, *_: runner.online, lambda _, runners: f"those that fit are offline: {_format_names(runners)}"),
)


def find_eligible_runners(requirements: JobRequirements, project_id: int, runners: Runners) -> tuple[Runners, str]:
    """Return the runners that can take a job of the project with these requirements now, or no runner and a reason."""
    for passes, reason in ELIGIBILITY_CHECKS:
        remaining = [runner for runner in runners if passes(runner, requirements, project_id)]
        if not remaining:
            return [], f"Waits for a runner: {reason(requirements, runners)}."
        runners = remaining
    return runners, ""


def busy_reason(runners: Runners, busy: Collection[str], *, outranked: bool) -> str:
    """Return why a job waits although runners are eligible for it."""
    free = [runner for runner in runners if runner.uuid not in busy]
    if free and not outranked:
        return f"Waits until a runner requests a job: {_format_names(free)}."
    reason = "jobs of a higher priority come first" if outranked else "all that fit are busy"
    return f"Waits for a free runner: {reason} ({_format_names(runners)})."
