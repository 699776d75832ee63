"""Request bodies of Free Commit's API: envelopes, flattened fields and loose types."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.types import Message

from contracts.errors import CODES, RequestRejected
from gateway.adapters.free_commit.request_fields import PROJECT, IntegersOrNone
from gateway.http.json_request import FreeCommitRequest, JsonText, flatten, parse_object
from gateway.schemas.field_codes import FIELD_CODES, find_code
from gateway.schemas.loose_types import Boolean, Integer, Integers, Scalar, StringMap, Text, Texts

JSON = "application/json; charset=utf-8"


def request_with(body: bytes, content_type: str) -> FreeCommitRequest:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", content_type.encode())]
    return FreeCommitRequest({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.mark.parametrize(
    ("sent", "flat"),
    [
        ({"project": {"name": "x", "tags": {"a": 1}}}, {"project_name": "x", "project_tags": {"a": 1}}),
        ({"project_name": "x"}, {"project_name": "x"}),
        ({"build": [{"id": 1}, {"id": 2, "name": "b"}]}, {"build_id": [1, 2], "build_name": ["b"]}),
        ({"ids": [1, 2], "none": [], "mixed": [{}, 1]}, {"ids": [1, 2], "none": [], "mixed": [{}, 1]}),
        ({"uploaded_file": {"name": "x"}}, {}),
        ({"project": {}}, {}),
    ],
)
def test_the_members_of_an_envelope_become_parameters(sent: dict[str, Any], flat: dict[str, Any]) -> None:
    assert flatten(sent) == flat


@pytest.mark.parametrize(
    ("raw", "content_type"), [(b"", JSON), (b"  ", JSON), (b"null", JSON), (b'{"a": 1}', "text/plain"), (b"{", "")]
)
async def test_an_empty_or_non_json_body_has_no_parameters(raw: bytes, content_type: str) -> None:
    assert await request_with(raw, content_type).parse() == {}


async def test_a_body_is_parsed_once_for_its_model_and_its_fingerprint() -> None:
    request = request_with(b'{"project": {"name": "x"}}', JSON)
    assert (await request.json()).flat_members is await request.parse()


@pytest.mark.parametrize(
    "raw",
    [b"{", b"NaN", b'{"a": Infinity}', b"[" * 10_000, b"9" * 10_000, b'{"a": "\\ud800"}', b"\xff", b'{"a": "\x00"}'],
)
def test_invalid_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_MALFORMED"):
        parse_object(raw)


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse_object('\ufeff{"a": 1}'.encode()) == {"a": 1}


@pytest.mark.parametrize("raw", [b"1", b'"text"', b"[1]", b"true"])
def test_a_body_must_be_one_object(raw: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_INVALID"):
        parse_object(raw)


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        (Text, None, None),
        (Text, "", ""),
        (Scalar, "", None),
        (Scalar, 5, "5"),
        (Scalar, True, "true"),
        (Scalar, 10**400, f"1{'0' * 400}"),
        (Integer, "", None),
        (Integer, "-12", -12),
        (Integer, 2**63 - 1, 2**63 - 1),
        (Boolean, "", None),
        (Boolean, "TRUE", True),
        (Boolean, "yes", False),
        (Boolean, False, False),
        (Integers, [1, "2"], (1, 2)),
        (Integers, None, None),
        (IntegersOrNone, None, ()),
        (Texts, ["a"], ("a",)),
        (StringMap, None, {}),
        (StringMap, {"A": 1, "B": None}, {"A": "1", "B": ""}),
    ],
)
def test_a_field_accepts_every_form_that_clients_send(field: Any, sent: Any, read: Any) -> None:
    assert TypeAdapter(field).validate_python(sent) == read


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        (Text, 5),
        (Text, True),
        (Scalar, []),
        (Scalar, 1e400),
        (Integer, "1.5"),
        (Integer, 1.0),
        (Integer, True),
        (Integer, 2**63),
        (Integer, "９"),
        (Boolean, 1),
        (Integers, "1"),
        (Integers, [None]),
        (Integers, [[]]),
        (Texts, [1]),
        (StringMap, []),
        (StringMap, {"A": {}}),
    ],
)
def test_a_field_rejects_values_of_other_types(field: Any, sent: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(field).validate_python(sent)


def test_fields_that_were_not_sent_are_left_out() -> None:
    project = PROJECT.model_validate(JsonText(b'{"project_repository_credential_id": "3", "other_name": "x"}'))
    assert project.message_fields() == {"credential_id": 3, "developers_id": (), "secrets_id": ()}


def test_members_of_an_envelope_and_flattened_fields_are_the_same() -> None:
    bodies = (b'{"project": {"name": "x"}}', b'{"project_name": "x"}')
    assert PROJECT.model_validate(JsonText(bodies[0])) == PROJECT.model_validate(JsonText(bodies[1]))


def test_a_wrong_type_has_the_error_code_of_its_field() -> None:
    assert find_code(("body", "project", "keep_number_build"), "wrong_type") == "PROJECT_KEEP_NUMBER_BUILD_INVALID"
    assert find_code(("body", "project", "name"), "wrong_type") == "REQUEST_INVALID"
    assert find_code(("body", "project", "name"), "missing") == "PROJECT_NAME_REQUIRED"
    assert find_code(("body", "project", "developers_id", 0), "wrong_type") == "REQUEST_INVALID"


def test_every_code_of_a_field_exists() -> None:
    assert {code for codes in FIELD_CODES.values() for code in codes} <= CODES.keys()


@pytest.mark.parametrize("sent", [[[1]], ["x"], [None], "1", {}, [1.5]])
def test_an_invalid_list_of_numbers_is_described_as_such(sent: Any) -> None:
    with pytest.raises(ValidationError, match="a list of whole numbers"):
        TypeAdapter(Integers).validate_python(sent)
