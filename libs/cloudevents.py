"""Events on the wire: CloudEvents 1.0 in binary mode, headers of the NATS message and a JSON body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.messages import Event, event_from
from libs.deciding import Actor, Cause, Recorded

SCHEMA = "ce-schemaversion"


def subject(service: str, recorded: Recorded[Event]) -> str:
    return f"evt.{service}.{recorded.stream}.{recorded.event.wire_name}"


def hint_subject(service: str, stream: str, event: str) -> str:
    """Where an event is announced the moment it is recorded: at most once, for those who act before the relay."""
    return f"hint.{service}.{stream}.{event}"


def to_headers(service: str, recorded: Recorded[Event]) -> dict[str, str]:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": recorded.id,
        "ce-source": f"/headrace/{service}",
        "ce-type": recorded.event.wire_name,
        "ce-subject": recorded.stream,
        "ce-time": recorded.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        SCHEMA: str(recorded.event.schema_version),
        "content-type": "application/json",
        "ce-actor": json.dumps([recorded.cause.actor.id, recorded.cause.actor.name]),
        "ce-causationid": recorded.cause.command_id,
    }
    if recorded.cause.traceparent:
        headers["traceparent"] = recorded.cause.traceparent
    return headers


def to_body(recorded: Recorded[Event]) -> bytes:
    return recorded.event.model_dump_json().encode()


def from_message(headers: Mapping[str, str], body: bytes) -> Recorded[Any]:
    """What a follower gets is what was recorded; personal fields stay sealed."""
    stream, _, place = headers["ce-id"].rpartition("@")
    version, _, index = place.partition(".")
    actor_id, actor_name = json.loads(headers["ce-actor"])
    cause = Cause(
        headers["ce-causationid"],
        datetime.fromisoformat(headers["ce-time"]),
        Actor(actor_id, actor_name),
        traceparent=headers.get("traceparent", ""),
    )
    event = event_from(headers["ce-type"], int(headers[SCHEMA]), json.loads(body))
    return Recorded(stream, int(version), int(index), event, cause)


@dataclass(frozen=True, slots=True)
class Delivered:
    """An event as it came from JetStream, with its place there."""

    sequence: int
    recorded: Recorded[Any]
