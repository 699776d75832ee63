"""The OpenAPI document is valid and complete, and its examples match its schemas."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.errors import CODES
from gateway.framework.openapi_html import docs_page
from gateway.openapi import document
from gateway.openapi.meanings import MEANINGS
from gateway.openapi.tags import TAGS
from gateway.openapi.words import WORDS
from gateway.routes import TABLE

DOCUMENT = document(TABLE)
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = [
    pytest.param(operation, id=operation["operationId"])
    for methods in DOCUMENT["paths"].values()
    for method, operation in methods.items()
    if method in METHODS
]


def schemas_with_examples(operation: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each body schema with its example."""
    for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media in holder.get("content", {}).values():
            if "example" in media:
                yield media["schema"] | {"components": DOCUMENT["components"]}, media["example"]


def test_the_openapi_document_is_valid() -> None:
    import schemathesis  # imported here: the import takes seconds, and every pytest worker imports this module

    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_every_operation_has_a_unique_id() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_fit_their_schemas(operation: dict[str, Any]) -> None:
    for schema, example in schemas_with_examples(operation):
        Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_belongs_to_a_described_group(operation: dict[str, Any]) -> None:
    assert set(operation["tags"]) <= set(TAGS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_path_parameters_match_the_path_template(operation: dict[str, Any]) -> None:
    path = next(path for path, methods in DOCUMENT["paths"].items() if operation in methods.values())
    assert {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"} == {
        part.strip("{}") for part in path.split("/") if part.startswith("{")
    }


def test_length_limits_of_the_contract_are_documented() -> None:
    body = DOCUMENT["paths"]["/api/admin/projects"]["post"]["requestBody"]
    name = body["content"]["application/json"]["schema"]["properties"]["project"]["properties"]["name"]
    assert name == {"type": ["string", "null"], "maxLength": 255}


def required_fields(method: str, path: str, resource: str) -> set[str]:
    body = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    return set(body["properties"][resource].get("required", ()))


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
    assert required_fields(method, path, resource) == set(fields.split())


def test_an_error_response_lists_its_possible_codes() -> None:
    response = DOCUMENT["paths"]["/api/admin/secrets/{secret_id}"]["delete"]["responses"]["409"]
    codes = response["content"]["application/json"]["schema"]["allOf"][1]["properties"]["message"]["enum"]
    assert set(codes) == {"CONFLICT", "SECRET_PROJECTS_NOT_EMPTY"}


def list_strings(part: Any) -> Iterator[str]:
    match part:
        case dict():
            for inner in part.values():
                yield from list_strings(inner)
        case list():
            for inner in part:
                yield from list_strings(inner)
        case str():
            yield part


def test_every_written_description_is_used() -> None:
    descriptions = set(list_strings(DOCUMENT))
    assert [name for name, words in MEANINGS.items() if words not in descriptions] == []
    assert [name for name, words in WORDS.items() if not any(text.startswith(words) for text in descriptions)] == []


def test_field_descriptions_give_units_and_the_meaning_of_null() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Token"]["properties"]["expires_in"]["description"] == "lifetime in seconds"
    assert schemas["Project"]["properties"]["keep_number_build"]["description"].endswith("null keeps all")
    assert schemas["Build"]["properties"]["executor_id"]["description"].startswith("UUID")
    assert schemas["RevealedSecret"]["properties"]["name"] == schemas["Secret"]["properties"]["name"]


def test_schema_names_are_plain_words() -> None:
    assert [name for name in DOCUMENT["components"]["schemas"] if not name.isalpha()] == []


def test_descriptions_mention_no_internal_message_names() -> None:
    descriptions = [
        operation["description"] for methods in DOCUMENT["paths"].values() for operation in methods.values()
    ]
    words = {word for text in descriptions for word in re.findall(r"\w+", text)}
    assert words & {route.message.wire_name for route in TABLE if route.message} == set()
    assert words & {"Answer", "Answered", "BuildRow", "JobRow", "RunnerView", "None", "Done"} == set()


def test_the_page_shows_every_operation_and_every_error_code() -> None:
    page = docs_page(DOCUMENT)
    assert [operation.id for operation in OPERATIONS if f'id="{operation.id}"' not in page] == []
    assert [code for code in CODES if f"<code>{code}</code>" not in page] == []


def test_the_page_links_every_response_schema() -> None:
    page = docs_page(DOCUMENT)
    links = set(re.findall(r'href="#(shape\.\w+)"', page))
    assert links <= set(re.findall(r'id="(shape\.\w+)"', page))
    assert "shape.Project" in links
