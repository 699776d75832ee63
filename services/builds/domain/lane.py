"""A project's lane: where its builds may not run at the same time, one holds it and the others wait in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from contracts.builds import (
    LaneCommand,
    LaneEvent,
    LaneGranted,
    LaneReleased,
    LaneRequested,
    ReleaseLane,
    RequestLane,
)
from libs.deciding import Decider


@dataclass(frozen=True, slots=True)
class Lane:
    holder: int | None = None
    waiting: tuple[int, ...] = ()
    gone: frozenset[int] = frozenset()  # released before they had asked: when they do ask, it is too late


def decide(lane: Lane, command: LaneCommand) -> Sequence[LaneEvent]:
    build_id = command.build_id
    here = {"project_id": command.project_id}
    match command:
        case RequestLane() if build_id == lane.holder or build_id in lane.waiting or build_id in lane.gone:
            return []
        case RequestLane() if lane.holder is None:
            return [LaneGranted(**here, build_id=build_id)]
        case RequestLane():
            return [LaneRequested(**here, build_id=build_id)]
        case ReleaseLane() if build_id == lane.holder:
            granted = [LaneGranted(**here, build_id=after) for after in lane.waiting[:1]]
            return [LaneReleased(**here, build_id=build_id), *granted]
        case ReleaseLane() if build_id in lane.waiting or build_id not in lane.gone:
            return [LaneReleased(**here, build_id=build_id)]
        case _:
            return []


def evolve(lane: Lane, event: LaneEvent) -> Lane:
    build_id = event.build_id
    waiting = tuple(one for one in lane.waiting if one != build_id)
    match event:
        case LaneRequested():
            return replace(lane, waiting=(*waiting, build_id))
        case LaneGranted():
            return replace(lane, holder=build_id, waiting=waiting)
        case LaneReleased():
            if build_id == lane.holder:
                return replace(lane, holder=None)
            if build_id in lane.waiting:
                return replace(lane, waiting=waiting)
            return replace(lane, gone=lane.gone | {build_id})
        case _:
            assert_never(event)


lane_decider = Decider[LaneCommand, Lane, LaneEvent](
    commands=(RequestLane, ReleaseLane),
    stream=lambda command: f"lane-{command.project_id}",
    initial=Lane(),
    decide=decide,
    evolve=evolve,
)
