"""contracts/asyncapi.json: every event subject with its headers and payload, as an AsyncAPI 3 document."""

from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts.messages import Event, Payload
from infra.docgen.declarations import ServiceDeclaration, first_line
from infra.docgen.field_descriptions import with_field_descriptions
from infra.docgen.field_types import sealed_fields
from infra.docgen.golden_samples import build_sample
from libs.version import VERSION

DESCRIPTION = """Everything that happens in Headrace, as CloudEvents 1.0 in binary mode over NATS headers, with JSON
data. Each service has its own JetStream stream, named after it, which holds `evt.<service>.>` in the order in which
things happened: subscribe to `evt.builds.*.BuildFinished`, or replay a stream from any point with an ordered consumer.
An event never changes and may come more than once: its `ce-id` tells. Fields that are named as sealed hold ciphertext;
no event holds a secret in clear. Programs outside log in as `consumer` and read the events of builds and runners."""

SEALED_DESCRIPTION = "Sealed: ciphertext under a key of its subject, opened only by the service itself."

STRING = {"type": "string"}
HEADERS: dict[str, Any] = {
    "ce-specversion": {"type": "string", "const": "1.0"},
    "ce-id": STRING | {"description": "`<stream>@<decision>.<place>`, unique in the whole system"},
    "ce-source": STRING | {"format": "uri-reference", "description": "`/headrace/<service>`"},
    "ce-type": STRING | {"description": "the event's name"},
    "ce-subject": STRING | {"description": "the stream, for example build-17"},
    "ce-time": STRING | {"format": "date-time"},
    "ce-schemaversion": STRING | {"pattern": "^[1-9][0-9]*$", "description": "version of the payload's schema"},
    "ce-actor": STRING
    | {"description": "who caused it, as a JSON array: number and name of the user; 0 is the system"},
    "ce-causationid": STRING | {"description": "the command that led to it"},
    "content-type": {"type": "string", "const": "application/json"},
    "traceparent": STRING | {"description": "W3C trace context; events of one cause share their trace"},
    "Nats-Msg-Id": STRING
    | {"description": "of JetStream: begins with the ce-id, with something behind it when it is repeated"},
    "Headrace-Position": STRING | {"description": "of the relay: where it was in the log; means nothing to others"},
}
OPTIONAL_HEADERS = {"traceparent", "Nats-Msg-Id", "Headrace-Position"}
EMPTIED_SUMMARY = (
    "The stream was emptied, and all its events come once more, in their order, under new sequence numbers: the relay "
    "lost its place in the log. It has none of the headers, and only those see it who read at that moment."
)


def build_document(declared: Sequence[ServiceDeclaration]) -> Payload:
    events = [(one, event) for one in declared for event in one.events]
    return {
        "asyncapi": "3.0.0",
        "id": "urn:headrace:events",
        "info": {
            "title": "Headrace events",
            "version": VERSION,
            "description": DESCRIPTION,
            "tags": [{"name": one.name, "description": f"Events of the service {one.name}"} for one in declared],
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "{host}",
                "protocol": "nats",
                "description": "The message bus; `headrace status --json` tells the address of the embedded one.",
                "variables": {"host": {"default": "127.0.0.1:4222"}},
                "security": [{"$ref": "#/components/securitySchemes/login"}],
            }
        },
        "channels": {_channel_name(event): _channel_object(one, event) for one, event in events}
        | {f"{one.name}.Emptied": _emptied_channel(one) for one in declared},
        "operations": {
            f"send{event.wire_name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_channel_name(event)}"},
                "summary": f"{one.name.capitalize()} records {event.wire_name}.",
                "tags": [{"name": one.name}],
                "messages": [{"$ref": f"#/channels/{_channel_name(event)}/messages/{event.wire_name}"}],
            }
            for one, event in events
        },
        "components": {
            "securitySchemes": {
                "login": {
                    "type": "userPassword",
                    "description": "User and password in the address: `nats://consumer:<password>@<host>`.",
                }
            },
            "messages": {event.wire_name: _message_object(one, event) for one, event in events}
            | {
                "Emptied": {
                    "name": "Emptied",
                    "title": "Emptied",
                    "summary": EMPTIED_SUMMARY,
                    "payload": {"type": "object"},
                }
            },
            "schemas": {"CloudEventHeaders": _headers_schema()} | _payload_schemas(declared),
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


def _headers_schema() -> Payload:
    required = [name for name in HEADERS if name not in OPTIONAL_HEADERS]
    return {"type": "object", "properties": HEADERS, "required": required}


def _payload_schemas(declared: Sequence[ServiceDeclaration]) -> Payload:
    events = [event for one in declared for event in one.events]
    messages = {message.__name__: message for one in declared for message in one.messages}
    _, schema = models_json_schema(
        [(event, "serialization") for event in events], ref_template="#/components/schemas/{model}"
    )
    payloads = {
        name: with_field_descriptions(messages[name], one) if name in messages else one
        for name, one in schema["$defs"].items()
    }
    for event in events:
        for name in sealed_fields(event):
            payloads[event.__name__]["properties"][name] |= {"description": SEALED_DESCRIPTION, "x-sealed": True}
    return payloads
