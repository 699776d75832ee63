"""Request bodies and fields: accepted forms and rejected values."""

from typing import Any

import pytest

from contracts.errors import RequestRejected
from gateway.framework.fields import Field, Unreadable, boolean, integer, integers, mapping, scalar, text, texts
from gateway.framework.request_body import flattened, parameters
from gateway.framework.route_table import body

JSON = "application/json; charset=utf-8"


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
    assert flattened(sent) == flat


@pytest.mark.parametrize(
    ("raw", "content_type"), [(b"", JSON), (b"  ", JSON), (b"null", JSON), (b'{"a": 1}', "text/plain"), (b"{", "")]
)
def test_an_empty_or_non_json_body_has_no_parameters(raw: bytes, content_type: str) -> None:
    assert parameters(raw, content_type) == {}


@pytest.mark.parametrize(
    "raw",
    [b"{", b"NaN", b'{"a": Infinity}', b"[" * 10_000, b"9" * 10_000, b'{"a": "\\ud800"}', b"\xff", b'{"a": "\x00"}'],
)
def test_invalid_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_MALFORMED"):
        parameters(raw, JSON)


def test_a_byte_order_mark_is_skipped() -> None:
    assert parameters('\ufeff{"a": 1}'.encode(), JSON) == {"a": 1}


@pytest.mark.parametrize("raw", [b"1", b'"text"', b"[1]", b"true"])
def test_a_body_must_be_one_object(raw: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_INVALID"):
        parameters(raw, JSON)


@pytest.mark.parametrize(
    ("field", "sent", "read"),
    [
        (text, None, None),
        (text, "", ""),
        (scalar, "", None),
        (scalar, 5, "5"),
        (scalar, True, "true"),
        (scalar, 10**400, f"1{'0' * 400}"),
        (integer, "", None),
        (integer, "-12", -12),
        (integer, 2**63 - 1, 2**63 - 1),
        (boolean, "", None),
        (boolean, "TRUE", True),
        (boolean, "yes", False),
        (boolean, False, False),
        (integers, [1, "2"], (1, 2)),
        (integers, None, None),
        (integers.otherwise(()), None, ()),
        (texts, ["a"], ("a",)),
        (mapping, None, {}),
        (mapping, {"A": 1, "B": None}, {"A": "1", "B": ""}),
    ],
)
def test_a_field_accepts_every_form_that_clients_send(field: Field, sent: Any, read: Any) -> None:
    assert field.read(sent) == read


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        (text, 5),
        (text, True),
        (scalar, []),
        (scalar, 1e400),
        (integer, "1.5"),
        (integer, 1.0),
        (integer, True),
        (integer, 2**63),
        (integer, "９"),
        (boolean, 1),
        (integers, "1"),
        (integers, [None]),
        (integers, [[]]),
        (texts, [1]),
        (mapping, []),
        (mapping, {"A": {}}),
    ],
)
def test_a_field_rejects_values_of_other_types(field: Field, sent: Any) -> None:
    with pytest.raises(Unreadable):
        field.read(sent)


def test_fields_that_were_not_sent_are_left_out() -> None:
    project = body("project", name=text, credential_id=integer.called("repository_credential_id"))
    assert project.read({"project_repository_credential_id": "3", "other_name": "x"}) == {"credential_id": 3}


def test_a_wrong_type_has_the_error_code_of_its_field() -> None:
    with pytest.raises(RequestRejected, match="PROJECT_KEEP_NUMBER_BUILD_INVALID"):
        body("project", keep_number_build=integer).read({"project_keep_number_build": []})
    with pytest.raises(RequestRejected, match="REQUEST_INVALID"):
        body("project", name=text).read({"project_name": []})


@pytest.mark.parametrize("sent", [[[1]], ["x"], [None], "1", {}, [1.5]])
def test_an_invalid_list_of_numbers_is_described_as_such(sent: Any) -> None:
    with pytest.raises(Unreadable, match="a list of whole numbers"):
        integers.read(sent)
