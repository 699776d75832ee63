"""The filter for the events of the stream that a client requests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic_core import from_json

from contracts.errors import RequestRejected
from gateway.streaming.event_consumer import STREAMS, StoredEvent

MAX_VALUES = 100  # maximum number of values in all filters together
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A filter for events. An event must match each field that is not empty."""

    services: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    projects: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, *, services: str, streams: str, types: str, projects: str) -> "EventFilter":
        """Parse lists of values that are separated by commas. Raises REQUEST_INVALID."""
        found = cls(_split(services, str), _split(streams, str), _split(types, str), _split(projects, _parse_id))
        if unknown := found.services - set(STREAMS):
            raise RequestRejected("REQUEST_INVALID", f"services: {min(unknown)} has no public events.")
        if sum(map(len, (found.services, found.streams, found.types, found.projects))) > MAX_VALUES:
            raise RequestRejected("REQUEST_INVALID", f"The filters can have at most {MAX_VALUES} values together.")
        return found

    def selects(self, event: StoredEvent) -> bool:
        return (
            (not self.services or event.stream in self.services)
            and (not self.streams or event.subject in self.streams)
            and (not self.types or event.name in self.types)
            and (not self.projects or from_json(event.data).get("project_id") in self.projects)
        )


def _split(text: str, parse: Callable[[str], T]) -> frozenset[T]:
    return frozenset(parse(part.strip()) for part in text.split(",") if part.strip())


def _parse_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RequestRejected("REQUEST_INVALID", "projects must be numbers that are separated by commas.")
    return int(text)
