"""Events as CloudEvents 1.0 in binary mode: attributes in NATS headers, and a JSON body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from contracts.messages import Event, parse_event
from libs.eventstore.decider import Actor, AnyEvent, CommandMetadata, RecordedEvent

SCHEMA_VERSION_HEADER = "ce-schemaversion"
MAX_CACHED_EVENTS = 256  # the subscriptions of a process read the same events within a short time
MAX_CACHED_BYTES = 16 * 1024  # events with a longer body are not cached


def event_subject(service: str, recorded: RecordedEvent[Event]) -> str:
    return f"evt.{service}.{recorded.stream}.{recorded.event.wire_name}"


def hint_subject(service: str, stream: str, event: str) -> str:
    """Return the subject of an event's hint.

    A hint is a copy of the event that is published right after the commit, ahead of the relay, and may be lost.
    """
    return f"hint.{service}.{stream}.{event}"


def to_headers(service: str, recorded: RecordedEvent[Event]) -> dict[str, str]:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": recorded.id,
        "ce-source": f"/headrace/{service}",
        "ce-type": recorded.event.wire_name,
        "ce-subject": recorded.stream,
        "ce-time": recorded.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        SCHEMA_VERSION_HEADER: str(recorded.event.schema_version),
        "content-type": "application/json",
        "ce-actor": json.dumps([recorded.metadata.actor.id, recorded.metadata.actor.name]),
        "ce-causationid": recorded.metadata.command_id,
    }
    if recorded.metadata.traceparent:
        headers["traceparent"] = recorded.metadata.traceparent
    return headers


def to_body(recorded: RecordedEvent[Event]) -> bytes:
    """Return the event as JSON, without the names that an erasure could not remove from JetStream."""
    return recorded.event.for_publication().model_dump_json().encode()


def to_hint_body(recorded: RecordedEvent[Event]) -> bytes:
    """Return, as JSON, the part of the event that a hint contains. Hints are not stored."""
    return recorded.event.for_hint().model_dump_json(exclude_defaults=True).encode()


def from_message(headers: Mapping[str, str], body: bytes) -> AnyEvent:
    """Parse an event from a NATS message. Personal fields stay encrypted."""
    stream, _, position = headers["ce-id"].rpartition("@")
    version, _, index = position.partition(".")
    actor_id, actor_name = json.loads(headers["ce-actor"])
    metadata = CommandMetadata(
        headers["ce-causationid"],
        datetime.fromisoformat(headers["ce-time"]),
        Actor(actor_id, actor_name),
        traceparent=headers.get("traceparent", ""),
    )
    parse = _parse_cached if len(body) <= MAX_CACHED_BYTES else _parse_body
    event = parse(headers["ce-type"], int(headers[SCHEMA_VERSION_HEADER]), body)
    return RecordedEvent(stream, int(version), int(index), event, metadata)


def _parse_body(name: str, version: int, body: bytes) -> Event:
    return parse_event(name, version, json.loads(body))


_parse_cached = lru_cache(MAX_CACHED_EVENTS)(_parse_body)


@dataclass(frozen=True, slots=True)
class DeliveredEvent:
    sequence: int
    recorded: AnyEvent
