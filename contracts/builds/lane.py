"""Who may run now, where a project wants its builds one after the other."""

from contracts.messages import Command, Event, Row


class RequestLane(Command):
    project_id: int
    build_id: int


class ReleaseLane(Command):
    project_id: int
    build_id: int


class LaneRequested(Event):
    project_id: int
    build_id: int


class LaneGranted(Event):
    project_id: int
    build_id: int


class LaneReleased(Event):
    project_id: int
    build_id: int


class LaneRow(Row):
    project_id: int = 0
    holder: int | None = None
    waiting: tuple[int, ...] = ()


LaneCommand = RequestLane | ReleaseLane
LaneEvent = LaneRequested | LaneGranted | LaneReleased
