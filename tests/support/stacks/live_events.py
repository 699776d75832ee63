"""A client of the gateway's event stream (server-sent events)."""

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True)
class LiveEvent:
    id: str
    name: str
    body: dict[str, Any]


@dataclass
class EventReader:
    events: list[LiveEvent] = field(default_factory=list)
    connected: threading.Event = field(default_factory=threading.Event)

    def read(self, response: httpx.Response) -> None:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            self.connected.set()  # the first line is a comment that confirms the connection
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                self.events.append(LiveEvent(fields["id"], fields["event"], json.loads(fields["data"])))
                fields = {}

    def event_names_of_build(self, build_id: int) -> list[str]:
        return [event.name for event in self.events if event.body.get("build_id") == build_id]


@contextmanager
def reading_live_events(client: httpx.Client, **headers: str) -> Iterator[EventReader]:
    """Read live events in a thread. The block starts when the connection is confirmed."""
    reader = EventReader()
    with client.stream("GET", "/events", headers=headers, timeout=None) as response:
        assert response.status_code == 200, response.read()

        def read() -> None:
            with contextlib.suppress(httpx.TransportError, httpx.StreamError, OSError, ValueError):
                reader.read(response)  # returns when the end of the block closes the connection

        thread = threading.Thread(target=read)
        thread.start()
        try:
            assert reader.connected.wait(10)
            yield reader
        finally:
            network = response.extensions["network_stream"]
            network.get_extra_info("socket").shutdown(2)
            thread.join()
