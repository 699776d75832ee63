"""The OpenAPI document, made from the table of routes, so that it says what the gateway does."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal

from pydantic import TypeAdapter

from contracts.errors import CODES
from gateway.auth import Role
from gateway.routing import WRITES, Body, Route

SERIALIZED: Literal["serialization"] = "serialization"
PARAMETER = re.compile(r"\{(\w+)(:id)?\}")
EVENTS = Route("GET", "/events", Role.USER, query={"since": "start at this time, in ISO 8601"})
FAILURE = {
    "type": "object",
    "required": ["timestamp", "status", "error", "message", "path", "detail", "trace_id"],
    "properties": {
        "timestamp": {"type": "string", "format": "date-time"},
        "status": {"type": "integer"},
        "error": {"type": "string", "description": "the status in words"},
        "message": {"type": "string", "enum": sorted(CODES), "description": "a stable code"},
        "path": {"type": "string"},
        "detail": {"type": "string", "description": "what is wrong, in words"},
        "trace_id": {"type": "string"},
    },
}


def document(table: Iterable[Route]) -> dict[str, Any]:
    routes = list(table)
    writers = {id(route.write): route.write for route in routes if route.write}
    inputs = [(name, SERIALIZED, writer.adapter) for name, writer in writers.items()]
    schemas, shared = TypeAdapter.json_schemas(inputs, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = "/api" + PARAMETER.sub(r"{\1}", route.path)
        answer = schemas[id(route.write), SERIALIZED] if route.write else None
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, answer)
    paths["/api/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": "1",
            "description": "A build server. Every write takes an `Idempotency-Key`: the same key has no second effect.",
        },
        "paths": paths,
        "components": {
            "schemas": {**shared["$defs"], "Failure": FAILURE},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: Route, answer: Any) -> dict[str, Any]:
    name = PARAMETER.sub(r"\1", route.path).replace("/", "_")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{name}",
        "tags": [route.path.split("/")[2 if route.path.count("/") > 1 else 1]],
        "summary": _summary(route),
        "parameters": [*_captured(route), *_queried(route), *_key(route)],
        "responses": {str(route.status): _success(route, answer), **_failures(route)},
    }
    if route.needs is not Role.NOBODY:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Needs {route.needs}."
    if route.body.fields:
        operation["requestBody"] = {"content": {"application/json": {"schema": _body(route.body)}}}
    return operation


def _events() -> dict[str, Any]:
    """The one answer without end."""
    operation = _operation(EVENTS, None)
    operation["summary"] = "Events of builds and runners, as they happen"
    operation["parameters"].append(
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "resume after this event",
            "schema": {"type": "string"},
        }
    )
    operation["responses"]["200"] = {
        "description": "Server-sent events: an id, the event's name, one line of JSON",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
    return operation


def _summary(route: Route) -> str:
    name = route.message.__name__ if route.message else getattr(route.answer, "__name__", "").replace("_", " ")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _captured(route: Route) -> list[dict[str, Any]]:
    whole = {"type": "integer", "format": "int64", "minimum": 0}
    return [
        {"name": name, "in": "path", "required": True, "schema": whole if is_id else {"type": "string"}}
        for name, is_id in PARAMETER.findall(route.path)
    ]


def _queried(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in route.query.items()
    ]


def _key(route: Route) -> list[dict[str, Any]]:
    if route.method not in WRITES or route.needs is Role.NOBODY:
        return []
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}}]


def _body(body: Body) -> dict[str, Any]:
    fields = {one.wire or name: dict(one.schema) for name, one in body.fields.items()}
    if body.bare:
        needed = [one.wire or name for name, one in body.fields.items() if one.required]
        return {"type": "object", "required": needed, "properties": fields}
    return {
        "type": "object",
        "required": [body.resource],
        "properties": {body.resource: {"type": "object", "properties": fields}},
    }


def _success(route: Route, answer: Any) -> dict[str, Any]:
    phrase = HTTPStatus(route.status).phrase
    if answer is None:
        return {"description": f"{phrase}, with an empty body"}
    return {"description": phrase, "content": {"application/json": {"schema": answer}}}


def _failures(route: Route) -> dict[str, Any]:
    """By status, with the codes that this route can answer."""
    codes = ["SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT", *route.errors]
    if route.needs is not Role.NOBODY or route.body.resource == "auth":
        codes += (
            ["FORBIDDEN"] if route.stranger == 403 else ["UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_INVALID", "FORBIDDEN"]
        )
    if "{" in route.path:
        codes += ["NOT_FOUND", *_own(route, 404)]
    if route.method in WRITES:
        codes += ["REQUEST_MALFORMED", "REQUEST_TOO_LARGE", "CONFLICT", *_own(route, 409)]
    if route.body.fields:
        codes += ["REQUEST_INVALID", *_own(route, 422)]
    if route.query or "{line_number}" in route.path:
        codes += ["REQUEST_MALFORMED"]
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {CODES[code].meaning}" for code in found),
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
        }
        for status, found in sorted(by_status.items())
    }


def _own(route: Route, status: int) -> list[str]:
    """The codes of the resource that the address speaks of."""
    named = route.path.split("/")[2].removesuffix("s") if route.path.count("/") > 1 else ""
    resource = (route.body.resource or named).upper()
    return [code for code, meaning in CODES.items() if code.startswith(f"{resource}_") and meaning.status == status]
