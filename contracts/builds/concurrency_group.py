"""Concurrency groups: a project that runs one build at a time has one slot, which its builds request in order.

A build requests the slot when it is launched, and again each time it is resumed. `build_version` is the version of the
build's stream after the launch or the resumption. It identifies the request. It is 0 in events of releases up to 0.2.0.
"""

from contracts.messages import Event, ReadModelRow


class ConcurrencySlotRequested(Event, wire_name="LaneRequested"):
    """A build waits for the concurrency slot of its project."""

    project_id: int
    build_id: int
    build_version: int = 0  # identifies the request: version of the build's stream; 0: a release up to 0.2.0


class ConcurrencySlotGranted(Event, wire_name="LaneGranted"):
    """A build got the concurrency slot of its project and may run."""

    project_id: int
    build_id: int
    build_version: int = 0  # identifies the request: version of the build's stream; 0: a release up to 0.2.0


class ConcurrencySlotReleased(Event, wire_name="LaneReleased"):
    """A build released the concurrency slot of its project, or withdrew its request for the slot."""

    project_id: int
    build_id: int


class ConcurrencyGroupRow(ReadModelRow):
    project_id: int = 0
    holder: int | None = None
    holder_version: int = 0  # `build_version` of the holder's request
    waiting: tuple[int, ...] = ()
    waiting_versions: tuple[int, ...] = ()  # `build_version` of each request in `waiting`


ConcurrencyGroupEvent = ConcurrencySlotRequested | ConcurrencySlotGranted | ConcurrencySlotReleased
