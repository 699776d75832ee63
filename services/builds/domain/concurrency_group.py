"""Decider of a project's concurrency group: one build holds its slot, the others wait in order of their launch.

Only projects that forbid concurrent builds have a concurrency group. In the names of streams and on the wire, it has
its former name `lane`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from contracts.builds import (
    ConcurrencyGroupEvent,
    ConcurrencySlotGranted,
    ConcurrencySlotReleased,
    ConcurrencySlotRequested,
)
from libs.eventstore.decider import Decider
from services.builds.domain.internal_commands import ReleaseConcurrencySlot, RequestConcurrencySlot

ConcurrencyGroupCommand = RequestConcurrencySlot | ReleaseConcurrencySlot


@dataclass(frozen=True, slots=True)
class ConcurrencyGroup:
    """The build that may run now, and the builds that wait."""

    holder: int | None = None
    waiting: tuple[int, ...] = ()
    # builds that finished before their late request for the slot arrived; the request is ignored
    released_early: frozenset[int] = frozenset()


def decide(group: ConcurrencyGroup, command: ConcurrencyGroupCommand) -> Sequence[ConcurrencyGroupEvent]:
    build_id = command.build_id
    project = {"project_id": command.project_id}
    match command:
        case RequestConcurrencySlot() if (
            build_id == group.holder or build_id in group.waiting or build_id in group.released_early
        ):
            return []
        case RequestConcurrencySlot() if group.holder is None:
            return [ConcurrencySlotGranted(**project, build_id=build_id)]
        case RequestConcurrencySlot():
            return [ConcurrencySlotRequested(**project, build_id=build_id)]
        case ReleaseConcurrencySlot() if build_id == group.holder:
            granted = [ConcurrencySlotGranted(**project, build_id=next_build_id) for next_build_id in group.waiting[:1]]
            return [ConcurrencySlotReleased(**project, build_id=build_id), *granted]
        case ReleaseConcurrencySlot() if build_id in group.waiting or build_id not in group.released_early:
            return [ConcurrencySlotReleased(**project, build_id=build_id)]
        case _:
            return []


def evolve(group: ConcurrencyGroup, event: ConcurrencyGroupEvent) -> ConcurrencyGroup:
    build_id = event.build_id
    others = tuple(waiting for waiting in group.waiting if waiting != build_id)
    match event:
        case ConcurrencySlotRequested():
            return replace(group, waiting=(*others, build_id))
        case ConcurrencySlotGranted():
            return replace(group, holder=build_id, waiting=others)
        case ConcurrencySlotReleased():
            if build_id == group.holder:
                return replace(group, holder=None)
            if build_id in group.waiting:
                return replace(group, waiting=others)
            return replace(group, released_early=group.released_early | {build_id})
        case _:
            assert_never(event)


concurrency_group_decider = Decider[ConcurrencyGroupCommand, ConcurrencyGroup, ConcurrencyGroupEvent](
    commands=(RequestConcurrencySlot, ReleaseConcurrencySlot),
    stream=lambda command: f"lane-{command.project_id}",
    initial=ConcurrencyGroup(),
    decide=decide,
    evolve=evolve,
)
