"""A project's lane: where its builds may not run at the same time, one holds it and the others wait in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from contracts.builds import (
    ConcurrencyGroupCommand,
    ConcurrencySlotGranted,
    ConcurrencySlotReleased,
    ConcurrencySlotRequested,
    LaneEvent,
    ReleaseConcurrencySlot,
    RequestConcurrencySlot,
)
from libs.eventstore.decider import Decider


@dataclass(frozen=True, slots=True)
class ConcurrencyGroup:
    holder: int | None = None
    waiting: tuple[int, ...] = ()
    released_early: frozenset[int] = frozenset()  # released before they had asked: when they do ask, it is too late


def decide(group: ConcurrencyGroup, command: ConcurrencyGroupCommand) -> Sequence[LaneEvent]:
    build_id = command.build_id
    here = {"project_id": command.project_id}
    match command:
        case RequestConcurrencySlot() if (
            build_id == group.holder or build_id in group.waiting or build_id in group.released_early
        ):
            return []
        case RequestConcurrencySlot() if group.holder is None:
            return [ConcurrencySlotGranted(**here, build_id=build_id)]
        case RequestConcurrencySlot():
            return [ConcurrencySlotRequested(**here, build_id=build_id)]
        case ReleaseConcurrencySlot() if build_id == group.holder:
            granted = [ConcurrencySlotGranted(**here, build_id=after) for after in group.waiting[:1]]
            return [ConcurrencySlotReleased(**here, build_id=build_id), *granted]
        case ReleaseConcurrencySlot() if build_id in group.waiting or build_id not in group.released_early:
            return [ConcurrencySlotReleased(**here, build_id=build_id)]
        case _:
            return []


def evolve(group: ConcurrencyGroup, event: LaneEvent) -> ConcurrencyGroup:
    build_id = event.build_id
    waiting = tuple(one for one in group.waiting if one != build_id)
    match event:
        case ConcurrencySlotRequested():
            return replace(group, waiting=(*waiting, build_id))
        case ConcurrencySlotGranted():
            return replace(group, holder=build_id, waiting=waiting)
        case ConcurrencySlotReleased():
            if build_id == group.holder:
                return replace(group, holder=None)
            if build_id in group.waiting:
                return replace(group, waiting=waiting)
            return replace(group, released_early=group.released_early | {build_id})
        case _:
            assert_never(event)


concurrency_group_decider = Decider[ConcurrencyGroupCommand, ConcurrencyGroup, LaneEvent](
    commands=(RequestConcurrencySlot, ReleaseConcurrencySlot),
    stream=lambda command: f"lane-{command.project_id}",
    initial=ConcurrencyGroup(),
    decide=decide,
    evolve=evolve,
)
