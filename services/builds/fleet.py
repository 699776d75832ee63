"""The runners as the queue must know them, kept up from their events; and why none of them takes a job, in words."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from contracts.builds import Abilities, Demand
from contracts.messages import Row
from contracts.runners import (
    RunnerDeleted,
    RunnerEdited,
    RunnerOffline,
    RunnerOnline,
    RunnerRegistered,
    RunnerShutDown,
)
from libs.deciding import Recorded
from libs.service import FollowedView

NAMED = 3  # runners in one sentence
SETTINGS = ("name", "tags", "run_untagged", "protected", "active")


class FleetRow(Abilities, Row):
    uuid: str = ""
    name: str = ""
    active: bool = True
    online: bool = False
    deleted: bool = False


def runner_of(recorded: Recorded[Any]) -> str | None:
    return getattr(recorded.event, "runner_uuid", None)


def enlist(row: FleetRow, recorded: Recorded[Any]) -> FleetRow:
    match recorded.event:
        case RunnerRegistered() as event:
            return FleetRow(
                uuid=event.runner_uuid, owner_type=event.owner_type, owner_id=event.owner_id, **_settings(event)
            )
        case RunnerEdited() as event:
            return row.but(**_settings(event))
        case RunnerShutDown():
            return row.but(active=False)
        case RunnerOnline():
            return row.but(online=True)
        case RunnerOffline():
            return row.but(online=False)
        case RunnerDeleted():
            return row.but(deleted=True)
        case _:
            return row


def _settings(event: RunnerRegistered | RunnerEdited) -> dict[str, Any]:
    return {name: getattr(event, name) for name in SETTINGS}


fleet = FollowedView("fleet", "runners", runner_of, FleetRow(), enlist, gone=lambda row: row.deleted)

Runners = Sequence[FleetRow]
Hurdle = tuple[Callable[[FleetRow, Demand, int], bool], Callable[[Demand, Runners], str]]


def _names(runners: Runners) -> str:
    more = len(runners) - NAMED
    shown = ", ".join(sorted(one.name for one in runners)[:NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _missing(asked: Demand, runners: Runners) -> str:
    nowhere = [tag for tag in asked.tags if not any(tag in one.tags for one in runners)]
    if nowhere:
        return f"no runner has the {'tag' if len(nowhere) == 1 else 'tags'} {', '.join(nowhere)}"
    return f"no runner has all of its tags: {', '.join(asked.tags)}"


HURDLES: Sequence[Hurdle] = (  # one after the other; the words are for the hurdle that the last runners do not take
    (
        lambda runner, asked, project_id: runner.owned_by(project_id, asked.company_id),
        lambda _, runners: "all runners belong to other projects or companies" if runners else "none is registered",
    ),
    (lambda runner, asked, _: set(asked.tags) <= set(runner.tags), _missing),
    (
        lambda runner, asked, _: bool(asked.tags) or runner.run_untagged,
        lambda _, runners: f"it has no tags, and {_names(runners)} may only take jobs with tags",
    ),
    (
        lambda runner, asked, _: asked.protected or not runner.protected,
        lambda _, runners: f"its branch is not protected, and {_names(runners)} may only take protected ones",
    ),
    (lambda runner, *_: runner.active, lambda _, runners: f"those that fit are switched off: {_names(runners)}"),
    (lambda runner, *_: runner.online, lambda _, runners: f"those that fit are offline: {_names(runners)}"),
)


def able(asked: Demand, project_id: int, runners: Runners) -> tuple[Runners, str]:
    """Who could take such a job now; if nobody, why."""
    for takes, words in HURDLES:
        left = [one for one in runners if takes(one, asked, project_id)]
        if not left:
            return [], f"Waits for a runner: {words(asked, runners)}."
        runners = left
    return runners, ""


def engaged(runners: Runners, busy: Collection[str], *, outranked: bool) -> str:
    """What a job waits for although there are runners for it."""
    free = [one for one in runners if one.uuid not in busy]
    if free and not outranked:
        return f"Waits until a runner asks for work: {_names(free)}."
    reason = "jobs of a higher priority come first" if outranked else "all that fit are busy"
    return f"Waits for a free runner: {reason} ({_names(runners)})."
