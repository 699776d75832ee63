"""The OpenAPI document: valid, complete, and its examples are what it describes."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from jsonschema import Draft202012Validator

from contracts.errors import CODES
from gateway.openapi import document
from gateway.openapi.tags import TAGS
from gateway.pages import docs_page
from gateway.routes import TABLE

DOCUMENT = document(TABLE)
METHODS = ("get", "post", "put", "patch", "delete")
OPERATIONS = [
    pytest.param(operation, id=operation["operationId"])
    for methods in DOCUMENT["paths"].values()
    for method, operation in methods.items()
    if method in METHODS
]


def described(operation: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Each schema of a body with its example."""
    for holder in (operation.get("requestBody", {}), *operation["responses"].values()):
        for media in holder.get("content", {}).values():
            if "example" in media:
                yield media["schema"] | {"components": DOCUMENT["components"]}, media["example"]


def test_the_document_is_valid() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [one.id for one in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_examples_fit_their_schemas(operation: dict[str, Any]) -> None:
    for schema, example in described(operation):
        Draft202012Validator(schema).validate(example)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_belongs_to_a_described_group(operation: dict[str, Any]) -> None:
    assert set(operation["tags"]) <= set(TAGS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_parameters_of_a_path_are_those_that_it_names(operation: dict[str, Any]) -> None:
    path = next(path for path, methods in DOCUMENT["paths"].items() if operation in methods.values())
    assert {one["name"] for one in operation["parameters"] if one["in"] == "path"} == {
        part.strip("{}") for part in path.split("/") if part.startswith("{")
    }


def test_the_limits_of_the_contract_are_told() -> None:
    body = DOCUMENT["paths"]["/api/admin/projects"]["post"]["requestBody"]
    name = body["content"]["application/json"]["schema"]["properties"]["project"]["properties"]["name"]
    assert name == {"type": ["string", "null"], "maxLength": 255}


def test_a_failure_names_the_codes_that_its_status_can_have() -> None:
    answer = DOCUMENT["paths"]["/api/admin/secrets/{secret_id}"]["delete"]["responses"]["409"]
    codes = answer["content"]["application/json"]["schema"]["allOf"][1]["properties"]["message"]["enum"]
    assert set(codes) == {"CONFLICT", "SECRET_PROJECTS_NOT_EMPTY"}


def test_the_page_shows_every_operation_and_every_error_code() -> None:
    page = docs_page(DOCUMENT)
    assert [one.id for one in OPERATIONS if f'id="{one.id}"' not in page] == []
    assert [code for code in CODES if f"<code>{code}</code>" not in page] == []
