"""What all of GitFlic's routes share: pages, forms of dates, bare bodies, and 403 for strangers."""

import pytest

from contracts.errors import Refused
from gateway.dialects.gitflic.pages import page_fields
from gateway.dialects.gitflic.registration import with_port
from gateway.dialects.gitflic.times import instant, local
from gateway.fields import integer, text
from gateway.routes import TABLE
from gateway.routing import bare

EDIT = bare("runner", name=text.called("title").needed(), timeout=integer)


def test_nothing_asked_is_the_first_ten() -> None:
    assert page_fields(b"") == {"page": 0, "size": 10}


def test_pages_count_from_zero_and_sizes_end_at_a_thousand() -> None:
    assert page_fields(b"page=3&size=200") == {"page": 3, "size": 200}
    assert page_fields(b"size=1000000") == {"page": 0, "size": 1000}


@pytest.mark.parametrize("bad", ["-1", "x", "", "1.5", "%D9%A3", "9" * 40])
def test_what_is_no_number_falls_back(bad: str) -> None:
    assert page_fields(f"page={bad}&size={bad}".encode()) == {"page": 0, "size": 10}


def test_no_rows_at_all_is_no_size() -> None:
    assert page_fields(b"size=0")["size"] == 10


@pytest.mark.parametrize(
    ("at", "written"),
    [
        ("2024-06-03T08:37:21.331040Z", "2024-06-03T08:37:21.33104"),
        ("2024-06-03T10:37:20+02:00", "2024-06-03T08:37:20"),
    ],
)
def test_a_local_time_has_no_zone_and_no_needless_zeros(at: str, written: str) -> None:
    assert local(at) == written


def test_an_instant_has_its_zone_and_six_digits() -> None:
    assert instant("2024-06-21T13:38:15.229+02:00") == "2024-06-21T11:38:15.229000Z"


def test_bare_fields_stand_at_the_top_of_the_body() -> None:
    assert EDIT.read({"title": "Gloin", "runner_title": "x"}) == {"name": "Gloin"}


@pytest.mark.parametrize("body", [{}, {"title": None}, {"title": ""}])
def test_a_needed_field_is_neither_missing_nor_empty(body: dict[str, str | None]) -> None:
    with pytest.raises(Refused, match="title is missing, null or an empty text"):
        EDIT.read(body)


def test_a_bare_field_of_the_wrong_type_is_named() -> None:
    with pytest.raises(Refused, match="timeout is a whole number"):
        EDIT.read({"title": "x", "timeout": []})


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
def test_a_registration_url_has_its_port_written_out(url: str, written: str) -> None:
    assert with_port(url) == written


def test_gitflics_routes_know_no_401() -> None:
    known = {(route.method, route.path) for route in TABLE if route.stranger == 403}
    assert ("GET", "/admin/runners/registration-info") in known
