"""The OpenAPI document is valid and complete, and its examples match its schemas."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, Registry

from contracts.errors import CODES
from contracts.identity import CreateApiToken, CreateCompany, LogIn, RegisterUser
from contracts.messages import Message
from contracts.projects import CreateCredential, CreateExecutor, CreateProject, CreateSecret
from gateway.adapters.free_commit import request_fields
from gateway.openapi import TAGS, load_contract
from gateway.schemas.json_body import Envelope, Fields
from tests.support.gateway_routes import OF_RUNNERS, list_routes

DOCUMENT = load_contract("openapi.json")
SCHEMAS = DOCUMENT["components"]["schemas"]
MAX_BYTES = 500_000
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = [
    pytest.param(operation, id=operation["operationId"])
    for methods in DOCUMENT["paths"].values()
    for method, operation in methods.items()
    if method in METHODS
]


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """Return the component that a `$ref` refers to, or the part itself if it is no `$ref`."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    component: dict[str, Any] = DOCUMENT["components"][kind][name]
    return component


def list_schemas_with_examples(part: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    match part:
        case dict():
            if isinstance(part.get("examples"), list):
                for example in part["examples"]:
                    yield part, example
            for member in part.values():
                yield from list_schemas_with_examples(member)
        case list():
            for item in part:
                yield from list_schemas_with_examples(item)


def test_the_openapi_document_is_valid() -> None:
    import schemathesis  # imported here: the import takes seconds, and every pytest worker imports this module

    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_the_document_is_small_enough_for_generators_and_viewers() -> None:
    assert len(json.dumps(DOCUMENT, separators=(",", ":"))) < MAX_BYTES  # without spaces, as the gateway sends it


def test_every_operation_has_a_unique_id() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_examples_fit_their_schemas() -> None:
    found = list(list_schemas_with_examples({"schemas": SCHEMAS, "paths": DOCUMENT["paths"]}))
    document = {"components": DOCUMENT["components"], "found": [schema for schema, _ in found]}
    registry = Registry([("urn:openapi", document)])  # each validator would compile a document in its schema again
    for index, (_, example) in enumerate(found):
        Draft202012Validator({"$ref": f"urn:openapi#/found/{index}"}, registry=registry).validate(example)
    assert len(found) > 200


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_has_a_summary_and_a_described_group(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert set(operation["tags"]) <= set(TAGS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_path_parameters_match_the_path_template(operation: dict[str, Any]) -> None:
    path = next(path for path, methods in DOCUMENT["paths"].items() if operation in methods.values())
    parameters = [_resolve(parameter) for parameter in operation.get("parameters", ())]
    named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert named == {*re.findall(r"\{(\w+)\}", path)}


def _resolve(parameter: dict[str, Any]) -> dict[str, Any]:
    shared: dict[str, Any] = DOCUMENT["components"]["parameters"]
    return shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter


def test_the_runner_protocol_has_a_group_of_its_own() -> None:
    paths = {path for path in DOCUMENT["paths"] if path.startswith("/api/v4/")}
    assert len(paths) == 9
    assert {tag for path in paths for one in DOCUMENT["paths"][path].values() for tag in one["tags"]} == {
        "Runner protocol"
    }


def request_fields_of(method: str, path: str, resource: str) -> dict[str, Any]:
    body = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    return resolve(resolve(body)["properties"][resource])


def test_request_bodies_have_names() -> None:
    body = DOCUMENT["paths"]["/api/admin/secrets"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/SecretRequest"}


def limits_of(schema: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = next((kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"), {})
    return {name: value for name, value in {**inner, **schema}.items() if name in ("maxLength", "maxItems")}


def limits_of_message(message: type[Message], name: str) -> dict[str, Any]:
    return limits_of(message.model_json_schema()["properties"][name])


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (LogIn, request_fields.AUTH),
        (CreateProject, request_fields.PROJECT),
        (CreateSecret, request_fields.SECRET),
        (CreateCredential, request_fields.CREDENTIAL),
        (CreateExecutor, request_fields.EXECUTOR),
        (RegisterUser, request_fields.DEVELOPER),
        (CreateCompany, request_fields.COMPANY),
        (CreateApiToken, request_fields.TOKEN),
    ],
)
def test_length_limits_are_those_of_the_message(message: type[Message], body: type[Envelope]) -> None:
    fields: type[Fields] = body.fields()
    documented = fields.model_json_schema()["properties"]
    for name in fields.model_fields:
        assert limits_of(documented[fields.wire_name(name)]) == limits_of_message(message, name), name


@pytest.mark.parametrize(
    ("method", "path", "resource", "fields"),
    [
        ("post", "/api/auth/token", "auth", "username password"),
        (
            "post",
            "/api/admin/projects",
            "project",
            "name repository branch spec_file_path allow_concurrent_execution executor_id",
        ),
        ("patch", "/api/admin/projects/{project_id}/secrets", "project", "secrets_id"),
        ("patch", "/api/admin/projects/{project_id}/repository_credential", "project", ""),
        ("post", "/api/admin/secrets", "secret", "name value"),
        ("patch", "/api/admin/secrets/{secret_id}/escape_char", "secret", "escape_char"),
        ("post", "/api/admin/developers", "developer", "username password"),
        ("patch", "/api/admin/developers/{user_id}/github_username", "developer", ""),
        ("patch", "/api/admin/developers/{user_id}/email", "developer", ""),
    ],
)
def test_required_fields_are_documented(method: str, path: str, resource: str, fields: str) -> None:
    assert set(request_fields_of(method, path, resource).get("required", ())) == set(fields.split())


def test_an_error_response_lists_its_possible_codes() -> None:
    response = resolve(DOCUMENT["paths"]["/api/admin/secrets/{secret_id}"]["delete"]["responses"]["409"])
    assert response["description"] == "`CONFLICT`, `SECRET_PROJECTS_NOT_EMPTY`"
    assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


def test_every_error_code_is_explained() -> None:
    message = SCHEMAS["ErrorBody"]["properties"]["message"]
    assert message["enum"] == sorted(CODES)
    assert [code for code in CODES if f"- `{code}`: " not in message["description"]] == []


def test_field_descriptions_give_units_and_the_meaning_of_null() -> None:
    assert SCHEMAS["Token"]["properties"]["expires_in"]["description"] == "lifetime in seconds"
    assert SCHEMAS["Project"]["properties"]["keep_number_build"]["description"].endswith("null: the server's setting")
    assert SCHEMAS["Build"]["properties"]["executor_id"]["description"].startswith("UUID")
    assert SCHEMAS["RevealedSecret"]["properties"]["name"] == SCHEMAS["Secret"]["properties"]["name"]


def test_schema_names_are_plain_words() -> None:
    assert [name for name in SCHEMAS if not name.isalpha()] == []


def test_every_route_is_documented() -> None:
    operations = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert len(operations) == len(OPERATIONS)
    documented = [name for name in operations if not any(prefix in name for prefix in OF_RUNNERS)]
    assert len(list_routes()) == len(documented)
