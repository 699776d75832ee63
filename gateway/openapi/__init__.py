"""The OpenAPI document, generated from the route table."""

import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import TypeAdapter

from contracts.errors import CODES
from gateway.auth import Role
from gateway.framework.route_table import Route
from gateway.openapi.examples import example
from gateway.openapi.meanings import described
from gateway.openapi.operations import operation
from gateway.openapi.requests import CAPTURED
from gateway.openapi.tags import TAGS

SERIALIZED: Literal["serialization"] = "serialization"
EVENTS = Route(
    "GET", "/events", Role.USER, query={"since": "start at this time (ISO 8601)"}, errors=("REQUEST_MALFORMED",)
)
FAILURE = {
    "type": "object",
    "required": ["timestamp", "status", "error", "message", "path", "detail", "trace_id"],
    "properties": {
        "timestamp": {"type": "string", "format": "date-time"},
        "status": {"type": "integer"},
        "error": {"type": "string", "description": "reason phrase of the status"},
        "message": {"type": "string", "enum": sorted(CODES), "description": "stable error code"},
        "path": {"type": "string"},
        "detail": {"type": "string", "description": "explanation of the error"},
        "trace_id": {"type": "string"},
    },
}


def document(table: Iterable[Route]) -> dict[str, Any]:
    routes = list(table)
    writers = {id(route.write): route.write for route in routes if route.write}
    inputs = [(name, SERIALIZED, writer.adapter) for name, writer in writers.items()]
    answers, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    schemas = {name: described(name, _untitled(schema)) for name, schema in shared["$defs"].items()}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        answer = _untitled(answers[id(route.write), SERIALIZED]) if route.write else None
        path = _path(route, paths)
        paths.setdefault(path, {})[route.method.lower()] = operation(route, path, answer, _shown(answer, schemas))
    paths["/api/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": "1",
            "description": (
                "A build server. Every write accepts an `Idempotency-Key`: a retry with the same key gets the same "
                "response and has no second effect. Errors have a stable code in `message`, explained in `detail`."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Failure": described("Failure", FAILURE)},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer <token>` with a login token or a personal token",
                },
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Authorization: token <token>` with a login token or a personal token",
                },
            },
        },
    }


def _path(route: Route, known: Iterable[str]) -> str:
    """Return the path to document. Paths that differ only in parameter names get the names of the first in `known`."""
    path = "/api" + CAPTURED.sub(r"{\1}", route.path)
    shape = re.sub(r"\{\w+\}", "{}", path)
    return next((one for one in known if re.sub(r"\{\w+\}", "{}", one) == shape), path)


def _shown(answer: Any, schemas: dict[str, Any]) -> Any:
    return None if answer is None else example(answer, schemas)


def _untitled(schema: Any, *, named: bool = False) -> Any:
    """Return the schema without titles, which only repeat names."""
    match schema:
        case dict():
            return {
                name: _untitled(one, named=name == "properties")
                for name, one in schema.items()
                if named or name != "title"
            }
        case list():
            return [_untitled(one) for one in schema]
        case _:
            return schema


def _events() -> dict[str, Any]:
    """Return the OpenAPI operation of the event stream."""
    events = operation(EVENTS, "/api/events", None, None)
    events["summary"] = "Stream events of builds and runners"
    events["parameters"].append(
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "resume after the event with this id",
            "schema": {"type": "string"},
        }
    )
    events["responses"]["200"] = {
        "description": "Server-sent events with id, event name, and one line of JSON",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    return events
