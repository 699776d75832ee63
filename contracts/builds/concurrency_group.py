"""Concurrency groups: a project that runs one build at a time has one slot, which its builds request in order."""

from contracts.messages import Command, Event, ReadModelRow


class RequestConcurrencySlot(Command, wire_name="RequestLane"):
    """Request the concurrency slot of a project for a build."""

    project_id: int
    build_id: int


class ReleaseConcurrencySlot(Command, wire_name="ReleaseLane"):
    """Release the slot, or withdraw the request, of a build."""

    project_id: int
    build_id: int


class ConcurrencySlotRequested(Event, wire_name="LaneRequested"):
    """A build waits for the concurrency slot of its project."""

    project_id: int
    build_id: int


class ConcurrencySlotGranted(Event, wire_name="LaneGranted"):
    """A build got the concurrency slot of its project and may run."""

    project_id: int
    build_id: int


class ConcurrencySlotReleased(Event, wire_name="LaneReleased"):
    """A build no longer needs the concurrency slot of its project."""

    project_id: int
    build_id: int


class ConcurrencyGroupRow(ReadModelRow):
    project_id: int = 0
    holder: int | None = None
    waiting: tuple[int, ...] = ()


ConcurrencyGroupCommand = RequestConcurrencySlot | ReleaseConcurrencySlot
ConcurrencyGroupEvent = ConcurrencySlotRequested | ConcurrencySlotGranted | ConcurrencySlotReleased
