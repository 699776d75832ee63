"""Common behavior of GitFlic routes: paging, date formats, flat request bodies, and 403 without a token."""

import pytest
from pydantic import ValidationError

from gateway.adapters.gitflic.datetime_formats import format_instant, format_local_time
from gateway.adapters.gitflic.runner_registration import add_default_port
from gateway.adapters.gitflic.slices import parse_slice_fields
from gateway.adapters.gitflic.user_models import KeyRequest, UserRequest
from gateway.http.json_request import JsonText
from tests.support.gateway_routes import list_routes


def test_the_default_gitflic_page_is_the_first_ten() -> None:
    assert parse_slice_fields(b"") == {"skip": 0, "limit": 10, "counted": True}


def test_gitflic_pages_count_from_zero_with_at_most_a_thousand_rows() -> None:
    assert parse_slice_fields(b"page=3&size=200") == {"skip": 600, "limit": 200, "counted": True}
    assert parse_slice_fields(b"size=1000000") == {"skip": 0, "limit": 1000, "counted": True}


@pytest.mark.parametrize("bad", ["-1", "x", "", "1.5", "%D9%A3", "9" * 40])
def test_invalid_gitflic_page_numbers_fall_back_to_the_default(bad: str) -> None:
    assert parse_slice_fields(f"page={bad}&size={bad}".encode()) == {"skip": 0, "limit": 10, "counted": True}


def test_a_gitflic_page_size_of_zero_falls_back_to_the_default() -> None:
    assert parse_slice_fields(b"size=0")["limit"] == 10


@pytest.mark.parametrize(
    ("at", "written"),
    [
        ("2024-06-03T08:37:21.331040Z", "2024-06-03T08:37:21.33104"),
        ("2024-06-03T10:37:20+02:00", "2024-06-03T08:37:20"),
    ],
)
def test_a_local_time_has_no_zone_and_no_trailing_zeros(at: str, written: str) -> None:
    assert format_local_time(at) == written


def test_an_instant_has_a_zone_and_six_fraction_digits() -> None:
    assert format_instant("2024-06-21T13:38:15.229+02:00") == "2024-06-21T11:38:15.229000Z"


def test_fields_are_read_from_the_top_level_of_the_body() -> None:
    key = KeyRequest.model_validate(JsonText(b'{"title": "Gloin", "key_title": "x"}'))
    assert key.message_fields() == {"title": "Gloin"}


@pytest.mark.parametrize("alias", ["", ', "alias": null', ', "alias": ""'])
def test_a_required_field_must_not_be_missing_or_empty(alias: str) -> None:
    body = f'{{"email": "gloin@example.org"{alias}}}'
    with pytest.raises(ValidationError, match="is missing, null or empty"):
        UserRequest.model_validate(JsonText(body.encode()))


def test_a_field_of_the_wrong_type_is_named_in_the_error() -> None:
    with pytest.raises(ValidationError, match="publicKey\n  must be a string or null"):
        KeyRequest.model_validate(JsonText(b'{"publicKey": []}'))


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("http://ci.example", "http://ci.example:80"),
        ("https://ci.example", "https://ci.example:443"),
        ("https://ci.example:8443", "https://ci.example:8443"),
        ("http://[::1]", "http://[::1]:80"),
        ("http://ci.example/builds", "http://ci.example:80/builds"),
    ],
)
def test_a_registration_url_has_an_explicit_port(url: str, written: str) -> None:
    assert add_default_port(url) == written


def test_gitflic_routes_answer_403_instead_of_401() -> None:
    known = {route.name for route in list_routes() if route.required and route.required.unauthenticated_status == 403}
    assert "GET /admin/runners/registration-info" in known
