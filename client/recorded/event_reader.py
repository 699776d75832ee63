"""A reader of the stream of server-sent events. It resumes a stream that ends after the last event."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from client.errors import ServerUnreachable
from client.http_client import Client

EVENTS_PATH = "/events"
RETRY_SECONDS = 2.0
MAX_FAILURES = 30  # consecutive failures after which `read_events` ends, about one minute


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    id: str
    name: str
    data: Any


def read_events(
    client: Client, since: str = "", *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[ReceivedEvent]:
    """Yield events from the ISO 8601 time `since` on. If `since` is empty, yield only new events.

    Raises ServerUnreachable if the first request fails, or if the server stays unavailable, and ApiError.
    """
    last_id, failures = "", 0
    while True:
        try:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with client.stream(EVENTS_PATH, {"since": since} if since and not last_id else None, headers) as response:
                for event in parse_events(response.iter_lines()):
                    last_id, failures = event.id, 0
                    yield event
        except ServerUnreachable:
            failures += 1
            if not client.has_answered or failures > MAX_FAILURES:
                raise
        sleep(RETRY_SECONDS)


def parse_events(lines: Iterable[str]) -> Iterator[ReceivedEvent]:
    """Parse the lines of a stream (HTML standard, section 9.2.6). Comments and unknown fields are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                data = json.loads(fields["data"])
                yield ReceivedEvent(fields.get("id", ""), fields.get("event", "message"), data)
            fields = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and "data" in fields else value
