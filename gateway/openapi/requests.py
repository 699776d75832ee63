"""Parameters and bodies of requests."""

import re
from typing import Any

from contracts.errors import CODES
from contracts.messages import Message
from gateway.auth import Role
from gateway.framework.route_table import WRITES, Body, Route
from gateway.openapi.examples import sent, value
from gateway.openapi.meanings import MEANINGS, described
from gateway.openapi.queries import queried

CAPTURED = re.compile(r"\{(\w+)(:id)?(?::path)?\}")
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a retry with the same key gets the same response and has no second effect",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
LIMITS = frozenset({"maxLength", "minLength", "maxItems", "minimum", "maximum", "enum", "pattern"})


def parameters(route: Route, path: str) -> list[dict[str, Any]]:
    found = [*_captured(route, path), *queried(route), *_sent_headers(route)]
    return [*found, KEY] if route.method in WRITES and route.needs is not Role.ANONYMOUS else found


def _captured(route: Route, path: str) -> list[dict[str, Any]]:
    whole = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1}
    shown = re.findall(r"\{(\w+)\}", path)
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _number(own) if is_id else MEANINGS[f"path.{own}"],
            "schema": whole if is_id else {"type": "string", "minLength": 1},
            "example": 17 if is_id else "17" if own == "id" else value(own),
        }
        for name, (own, is_id) in zip(shown, CAPTURED.findall(route.path), strict=True)
    ]


def _number(name: str) -> str:
    """Return the description of a numeric path parameter like `project_id` or `job_local_id`."""
    noun = name.removesuffix("_id")
    local = noun.endswith("_local")
    return f"the number of the {noun.removesuffix('_local')}" + (" within its project" if local else "")


def _sent_headers(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": meaning, "schema": {"type": "string"}}
        for name, meaning in route.headers.items()
    ]


def request_body(route: Route) -> dict[str, Any] | None:
    if route.raw:
        return {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    if not route.body.fields:
        return None
    fields = {
        one.wire or name: dict(one.schema) | _limits(route.message, name) for name, one in route.body.fields.items()
    }
    required = _required(route.body)
    schema = described(
        route.body.resource, {"type": "object", "properties": fields} | ({"required": required} if required else {})
    )
    example = {wire: sent(wire) for wire in fields}
    if not route.body.bare:
        resource = route.body.resource
        schema = {"type": "object", "required": [resource], "properties": {resource: schema}}
        example = {resource: example}
    return {"required": bool(required), "content": {"application/json": {"schema": schema, "example": example}}}


def _required(body: Body) -> list[str]:
    return [one.wire or name for name, one in body.fields.items() if _must(body, name)]


def _must(body: Body, name: str) -> bool:
    one = body.fields[name]
    if one.required_in_docs is not None:
        return one.required_in_docs
    has_code = body.code_starts(name)[0] + "REQUIRED" in CODES
    return one.required or (has_code and not one.always)


def _limits(message: type[Message] | None, name: str) -> dict[str, Any]:
    """Return the limits that the message declares for the field, as members of a JSON schema."""
    if message is None or name not in message.model_fields:
        return {}
    schema = message.model_json_schema(ref_template="#/{model}")["properties"][name]
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    limits = {key: one for key, one in kinds[0].items() if key in LIMITS}
    if "enum" in limits:
        limits["enum"] = [*limits["enum"], None]
    return limits
