"""Concurrency groups: a project that runs one build at a time has one slot, which its builds request in order."""

from contracts.messages import Event, ReadModelRow


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


ConcurrencyGroupEvent = ConcurrencySlotRequested | ConcurrencySlotGranted | ConcurrencySlotReleased
