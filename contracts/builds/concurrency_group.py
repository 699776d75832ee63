"""Who may run now, where a project wants its builds one after the other."""

from contracts.messages import Command, Event, ReadModelRow


class RequestConcurrencySlot(Command, wire_name="RequestLane"):
    project_id: int
    build_id: int


class ReleaseConcurrencySlot(Command, wire_name="ReleaseLane"):
    project_id: int
    build_id: int


class ConcurrencySlotRequested(Event, wire_name="LaneRequested"):
    project_id: int
    build_id: int


class ConcurrencySlotGranted(Event, wire_name="LaneGranted"):
    project_id: int
    build_id: int


class ConcurrencySlotReleased(Event, wire_name="LaneReleased"):
    project_id: int
    build_id: int


class ConcurrencyGroupRow(ReadModelRow):
    project_id: int = 0
    holder: int | None = None
    waiting: tuple[int, ...] = ()


ConcurrencyGroupCommand = RequestConcurrencySlot | ReleaseConcurrencySlot
LaneEvent = ConcurrencySlotRequested | ConcurrencySlotGranted | ConcurrencySlotReleased
