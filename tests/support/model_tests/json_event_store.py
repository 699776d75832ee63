"""An in-memory event store that lets commands interleave and returns events as parsed from JSON."""

import asyncio
from dataclasses import replace

from pydantic_core import from_json

from contracts.messages import Event, parse_event
from libs.eventstore.decider import AnyEvent
from libs.eventstore.store import PendingCommit
from tests.support.memory_event_store import MemoryEventStore


class JsonEventStore(MemoryEventStore):
    """Returns events as parsed from JSON, and lets other commands run before each access."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[PendingCommit] = []  # all commits, in the order in which they were appended

    async def append(self, *commits: PendingCommit) -> None:
        await asyncio.sleep(0)
        await super().append(*commits)
        self.log += commits

    async def read(self, stream: str, *, after: int = 0, until: int | None = None) -> list[AnyEvent]:
        await asyncio.sleep(0)
        recorded_events = await super().read(stream, after=after, until=until)
        return [replace(recorded, event=through_json(recorded.event)) for recorded in recorded_events]


def through_json(event: Event) -> Event:
    return parse_event(event.wire_name, event.schema_version, from_json(event.model_dump_json()))
