"""Generator of contracts/asyncapi.json: all events, commands and queries, as an AsyncAPI 3 document."""

from collections.abc import Sequence

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from contracts.messages import Message, Payload
from infra.docgen.asyncapi.events import build_events, headers_schema, mark_sealed_fields
from infra.docgen.asyncapi.requests import build_requests, list_answers, list_requests, request_headers_schema
from infra.docgen.declarations import ServiceDeclaration
from infra.docgen.field_descriptions import with_field_descriptions
from libs.version import VERSION

DESCRIPTION = """All messages of Headrace: events, commands and queries.

**Events** are CloudEvents 1.0 in binary mode over NATS headers, with JSON data. Each service
has one JetStream stream, named after it, with the subjects `evt.<service>.>` in the order in which the events were
recorded: subscribe to `evt.builds.*.BuildFinished`, or replay a stream from any position with an ordered consumer.
Events are immutable and delivered at least once: detect duplicates by `ce-id`. Fields marked as sealed contain
ciphertext; no event contains a secret in plaintext. External programs use the login `consumer`, which may
read the events of builds and runners.

**Commands** and **queries** are requests between the processes of Headrace. Their schemas may change with every release:
external programs use the HTTP API."""


def build_document(declared: Sequence[ServiceDeclaration]) -> Payload:
    events, requests = build_events(declared), build_requests(declared)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:headrace:messages",
        "info": {
            "title": "Headrace messages",
            "version": VERSION,
            "description": DESCRIPTION,
            "tags": [
                {"name": declaration.name, "description": f"Messages of the service {declaration.name}"}
                for declaration in declared
            ],
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "{host}",
                "protocol": "nats",
                "description": "NATS; `headrace server status --json` prints the URL of the embedded server.",
                "variables": {"host": {"default": "127.0.0.1:4222"}},
                "security": [{"$ref": "#/components/securitySchemes/login"}],
            }
        },
        "channels": events["channels"] | requests["channels"],
        "operations": events["operations"] | requests["operations"],
        "components": {
            "securitySchemes": {
                "login": {
                    "type": "userPassword",
                    "description": "User and password in the URL: `nats://consumer:<password>@<host>`.",
                }
            },
            "messages": events["messages"] | requests["messages"],
            "schemas": {"CloudEventHeaders": headers_schema(), "RequestHeaders": request_headers_schema()}
            | _payload_schemas(declared),
        },
    }


def _payload_schemas(declared: Sequence[ServiceDeclaration]) -> Payload:
    models: list[tuple[type[Message], JsonSchemaMode]] = [
        (event, "serialization") for declaration in declared for event in declaration.events
    ]
    models += [(request.message, "validation") for request in list_requests(declared)]
    models += [(answer, "serialization") for answer in list_answers(declared)]
    _, schema = models_json_schema(models, ref_template="#/components/schemas/{model}")
    messages = {message.__name__: message for declaration in declared for message in declaration.messages}
    schemas = {
        name: with_field_descriptions(messages[name], payload) if name in messages else payload
        for name, payload in schema["$defs"].items()
    }
    mark_sealed_fields(declared, schemas)
    return schemas
