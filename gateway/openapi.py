"""The OpenAPI document. FastAPI generates it from the routes; the gateway serves the file that `make docs` writes.

Generating it takes two seconds, during which a gateway could not answer other requests.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.adapters.gitlab.protocol_models import REFERENCED_MODELS as RUNNER_MODELS
from gateway.errors import ErrorBody

OPENAPI_VERSION = "3.1.0"
REFERENCED_MODELS: tuple[type[BaseModel], ...] = (ErrorBody, *RUNNER_MODELS)  # routes refer to them by name
SCHEMA_REFERENCE = "#/components/schemas/{model}"
REFERENCE = re.compile(r'"#/components/(\w+)/([^"]+)"')
VALIDATION_SCHEMAS = ("HTTPValidationError", "ValidationError")  # FastAPI's own error schemas, which are removed
EVENT_STREAM = "text/event-stream"
DESCRIPTION = (
    "A build server. Every write accepts an `Idempotency-Key`: a retry with the same key gets the same "
    "response and has no second effect. Errors have a stable code in `message`, explained in `detail`."
)
TAGS = {
    "Access": "Sign-in and tokens.",
    "Builds": "Launches, queued, running and finished builds, their jobs, cancellation, and artifacts.",
    "Logs": "Logs of running and finished builds, section by section.",
    "Projects": "What is built: repository, branch, developers, secrets.",
    "Schedules": "Builds that are launched at the times of a cron expression.",
    "Notifications": "Webhooks, chat messages and mails about builds, and requests to forges.",
    "Secrets": "Environment variables of builds. Only administrators can read values; each access is recorded.",
    "Credentials": "SSH keys for reading repositories.",
    "Developers": "Users and their roles.",
    "Executors": "Named sets of variables.",
    "Lists": "Paged lists with filters and order, and statistics.",
    "Runners": "Runners, their registration and their jobs (GitFlic's API).",
    "Users": "Users and their SSH keys (GitFlic's API).",
    "Companies": "Companies own projects and have members.",
    "History": "The history of an object, and its state at a point in time.",
    "Webhooks": "Webhooks of GitHub and GitLab, and their deliveries.",
    "Server": "Configuration and availability of the server.",
    "Events": "Live events of builds and runners.",
    "Runner protocol": "GitLab's runner protocol, for GitLab-compatible runners and the agent.",
}


def load_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of the application's routes, from the file. It is generated if the file lacks a route."""
    if app.openapi_schema is None:
        app.openapi_schema = _select_operations(load_contract("openapi.json"), app) or generate_document(app)
    return app.openapi_schema


def _select_operations(document: dict[str, Any], app: FastAPI) -> dict[str, Any] | None:
    """Return the document with the operations of the application, or None if one is missing."""
    served = {
        (_path_shape(route.path_format), method.lower())
        for context in iter_route_contexts(app.routes)
        if isinstance(route := context.original_route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }
    selected = {
        path: {method: operation for method, operation in operations.items() if (_path_shape(path), method) in served}
        for path, operations in document["paths"].items()
    }
    if sum(map(len, selected.values())) < len(served):
        return None
    return _drop_unused(document | {"paths": {path: operations for path, operations in selected.items() if operations}})


def _drop_unused(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without the components and tags that no operation uses."""
    components: dict[str, dict[str, Any]] = document["components"]
    used = set[tuple[str, str]]()
    found = _references(document["paths"])
    while found:
        used |= found
        found = {reference for kind, name in found for reference in _references(components[kind][name])} - used
    tags = {tag for operation in _operations(document) for tag in operation.get("tags", ())}
    return document | {
        "tags": [tag for tag in document["tags"] if tag["name"] in tags],
        "components": {
            kind: {name: part for name, part in parts.items() if (kind, name) in used or kind == "securitySchemes"}
            for kind, parts in components.items()
        },
    }


def _references(part: Any) -> set[tuple[str, str]]:
    """Return kind and name of the components that a part of the document refers to."""
    return set(REFERENCE.findall(json.dumps(part)))


def _path_shape(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def load_contract(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("contracts").joinpath(name).read_text("utf-8"))
    return document


def generate_document(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's document with the models that routes refer to by name."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=OPENAPI_VERSION,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        servers=[{"url": "/"}],
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in REFERENCED_MODELS], ref_template=SCHEMA_REFERENCE
    )
    schemas: dict[str, Any] = document["components"]["schemas"]
    schemas |= definitions["$defs"]
    for name in VALIDATION_SCHEMAS:
        schemas.pop(name, None)
    for operation in _operations(document):
        operation.setdefault("security", [])
        for parameter in operation.get("parameters", ()):
            parameter["schema"].pop("description", None)  # FastAPI repeats the parameter's description here
        operation["responses"] = {
            status: response
            for status, response in operation["responses"].items()
            if not any(name in json.dumps(response) for name in VALIDATION_SCHEMAS)
        }
        for response in operation["responses"].values():
            if EVENT_STREAM in response.get("content", {}):  # FastAPI describes the events as OpenAPI 3.2 does
                response["content"][EVENT_STREAM] = {"schema": {"type": "string"}}
    document["paths"] = _merge_equal_paths(document["paths"])
    document["components"]["responses"] = _share_error_responses(document)
    document["components"]["parameters"] = _share_parameters(document)
    without_titles: dict[str, Any] = _remove_titles(document)
    without_titles["info"]["title"] = app.title
    return without_titles


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _merge_equal_paths(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the paths, merging those that differ only in the names of parameters, which OpenAPI forbids.

    A merged path has the parameter names of the first one.
    """
    merged: dict[str, Any] = {}
    path_by_shape: dict[str, str] = {}
    for path, operations in paths.items():
        first = path_by_shape.setdefault(_path_shape(path), path)
        names = dict(zip(re.findall(r"\{(\w+)\}", path), re.findall(r"\{(\w+)\}", first), strict=True))
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["name"] = names[parameter["name"]]
        merged[first] = {**merged.get(first, {}), **operations}
    return merged


def _share_error_responses(document: dict[str, Any]) -> dict[str, Any]:
    """Replace error responses, which many routes share, with references. Return the responses by name."""
    names: dict[str, str] = {}
    shared: dict[str, Any] = {}
    for operation in _operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                phrase = HTTPStatus(int(status)).phrase.replace(" ", "")
                name = names.setdefault(
                    json.dumps([status, response]), f"{phrase}{sum(one.startswith(phrase) for one in shared) + 1}"
                )
                shared[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _share_parameters(document: dict[str, Any]) -> dict[str, Any]:
    """Replace parameters that several operations share with references. Return the parameters by name."""
    names: dict[str, str] = {}
    shared: dict[str, Any] = {}
    uses = Counter(json.dumps(one) for operation in _operations(document) for one in operation.get("parameters", ()))
    for operation in _operations(document):
        for position, parameter in enumerate(operation.get("parameters", ())):
            if uses[text := json.dumps(parameter)] > 1:
                number = sum(one["name"] == parameter["name"] for one in shared.values()) + 1
                name = names.setdefault(text, f"{parameter['name']}{number if number > 1 else ''}")
                shared[name] = parameter
                operation["parameters"][position] = {"$ref": f"#/components/parameters/{name}"}
    return shared


def _remove_titles(schema: Any, *, is_named: bool = False) -> Any:
    """Return the document without the titles of schemas, which only repeat names."""
    match schema:
        case dict():
            return {
                name: _remove_titles(member, is_named=name == "properties")
                for name, member in schema.items()
                if is_named or name != "title"
            }
        case list():
            return [_remove_titles(item) for item in schema]
        case _:
            return schema
