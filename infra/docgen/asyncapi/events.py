"""The events in the AsyncAPI document: subjects, headers and payloads."""

from collections.abc import Sequence
from typing import Any

from contracts.messages import Event, Payload
from infra.docgen.declarations import ServiceDeclaration, first_line
from infra.docgen.field_types import sealed_fields
from infra.docgen.golden_samples import build_sample

SEALED_DESCRIPTION = "Sealed: ciphertext under a key of its subject, which only the owning service can decrypt."

STRING = {"type": "string"}
HEADERS: dict[str, Any] = {
    "ce-specversion": {"type": "string", "const": "1.0"},
    "ce-id": STRING | {"description": "`<stream>@<commit number>.<index>`, unique in the whole system"},
    "ce-source": STRING | {"format": "uri-reference", "description": "`/headrace/<service>`"},
    "ce-type": STRING | {"description": "the event's name"},
    "ce-subject": STRING | {"description": "the aggregate's stream, for example build-17"},
    "ce-time": STRING | {"format": "date-time"},
    "ce-schemaversion": STRING | {"pattern": "^[1-9][0-9]*$", "description": "version of the payload's schema"},
    "ce-actor": STRING
    | {"description": "JSON array of the actor's number and name: a user has no name; runners and the system have 0"},
    "ce-causationid": STRING | {"description": "id of the command that produced the event"},
    "content-type": {"type": "string", "const": "application/json"},
    "traceparent": STRING | {"description": "W3C trace context; events with a common cause share a trace"},
    "Nats-Msg-Id": STRING
    | {"description": "JetStream's message id: the ce-id, with a suffix if the event is published again"},
    "Headrace-Position": STRING | {"description": "position of the relay in the log; internal"},
}
OPTIONAL_HEADERS = {"traceparent", "Nats-Msg-Id", "Headrace-Position"}
EMPTIED_SUMMARY = (
    "The stream was purged, and all its events are published again, in their order, with new sequence numbers, because "
    "the relay lost its position in the log. The message has no headers; only live consumers receive it."
)


def build_events(declared: Sequence[ServiceDeclaration]) -> Payload:
    """Return the channels, operations and messages of all events."""
    events = [(declaration, event) for declaration in declared for event in declaration.events]
    return {
        "channels": {_channel_name(event): _channel_object(declaration, event) for declaration, event in events}
        | {f"{declaration.name}.Emptied": _emptied_channel(declaration) for declaration in declared},
        "operations": {
            f"send{event.wire_name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_channel_name(event)}"},
                "summary": f"{declaration.name.capitalize()} records {event.wire_name}.",
                "tags": [{"name": declaration.name}],
                "messages": [{"$ref": f"#/channels/{_channel_name(event)}/messages/{event.wire_name}"}],
            }
            for declaration, event in events
        },
        "messages": {event.wire_name: _message_object(declaration, event) for declaration, event in events}
        | {
            "Emptied": {
                "name": "Emptied",
                "title": "Emptied",
                "summary": EMPTIED_SUMMARY,
                "payload": {"type": "object"},
            }
        },
    }


def _channel_name(event: type[Event]) -> str:
    return f"{event.service}.{event.wire_name}"


def _category_name(declared: ServiceDeclaration, event: type[Event]) -> str:
    category = declared.category_of(event)
    return category.name if category else declared.name


def _channel_object(declared: ServiceDeclaration, event: type[Event]) -> Payload:
    kind = _category_name(declared, event)
    return {
        "address": f"evt.{declared.name}.{{stream}}.{event.wire_name}",
        "description": first_line(event) or f"{event.wire_name} of the service {declared.name}.",
        "messages": {event.wire_name: {"$ref": f"#/components/messages/{event.wire_name}"}},
        "parameters": {"stream": {"description": f"`{kind}-<id>`; `*` for all", "examples": [f"{kind}-1"]}},
        "servers": [{"$ref": "#/servers/nats"}],
    }


def _emptied_channel(declared: ServiceDeclaration) -> Payload:
    return {
        "address": f"evt.{declared.name}.stream.Emptied",
        "description": EMPTIED_SUMMARY,
        "messages": {"Emptied": {"$ref": "#/components/messages/Emptied"}},
        "servers": [{"$ref": "#/servers/nats"}],
    }


def _message_object(declared: ServiceDeclaration, event: type[Event]) -> Payload:
    name = event.wire_name
    own = {"ce-type": {"const": name}, "ce-schemaversion": {"const": str(event.schema_version)}}
    summary = {"summary": line} if (line := first_line(event)) else {}
    hidden = {"description": f"Sealed fields: {', '.join(sealed_fields(event))}."} if sealed_fields(event) else {}
    return {
        "name": name,
        "title": name,
        **summary,
        **hidden,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "allOf": [{"$ref": "#/components/schemas/CloudEventHeaders"}, {"type": "object", "properties": own}],
        },
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "tags": [{"name": declared.name}],
        "examples": [{"name": f"{name} in version {event.schema_version}", "payload": build_sample(event)}],
    }


def headers_schema() -> Payload:
    required = [name for name in HEADERS if name not in OPTIONAL_HEADERS]
    return {"type": "object", "properties": HEADERS, "required": required}


def mark_sealed_fields(declared: Sequence[ServiceDeclaration], schemas: Payload) -> None:
    for event in (event for declaration in declared for event in declaration.events):
        properties = schemas[event.__name__].get("properties", {})  # a ChangedFields event has none in its schema
        for name in properties.keys() & set(sealed_fields(event)):
            properties[name] |= {"description": SEALED_DESCRIPTION, "x-sealed": True}
