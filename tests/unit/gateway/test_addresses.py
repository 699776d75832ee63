"""Addresses: prefixes of existing clients, and who may call what."""

import pytest

from contracts.errors import Refused
from gateway.auth import Role, role_of, token_from
from gateway.prefixes import canonical
from gateway.routes import TABLE


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("/api-free-commit/auth/token", "/api/auth/token"),
        ("/rest-api/admin/runners", "/api/admin/runners"),
        ("/admin/runners", "/api/admin/runners"),
        ("/user", "/api/user"),
        ("/", "/api/"),
        ("/api/user/info", "/api/user/info"),
        ("/api/v4/jobs/request", "/api/v4/jobs/request"),
        ("/-/runner/registration", "/-/runner/registration"),
        ("/healthz", "/healthz"),
        ("/metrics", "/metrics"),
        ("/apix", "/api/apix"),
    ],
)
def test_every_prefix_means_the_same_address(asked: str, answered: str) -> None:
    assert canonical(asked) == answered


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/guest/ping", Role.NOBODY),
        ("/auth/token", Role.NOBODY),
        ("/developer/builds/queueds", Role.DEVELOPER),
        ("/admin/executors", Role.ADMIN),
        ("/user/info", Role.USER),
    ],
)
def test_the_first_segment_says_who_may_call(path: str, role: Role) -> None:
    assert role_of(path) is role


def test_every_route_answers_with_a_message_or_by_itself() -> None:
    assert [route.path for route in TABLE if (route.message is None) == (route.answer is None)] == []


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer  ", b"Basic dXNlcjpwYXNz", b"\xff\xfe x"])
def test_what_is_no_token_is_no_token(header: bytes) -> None:
    with pytest.raises(Refused, match="UNAUTHORIZED"):
        token_from({b"authorization": header})


def test_both_schemes_carry_a_token() -> None:
    assert (
        token_from({b"authorization": b"Bearer a.b.c"}) == token_from({b"authorization": b"TOKEN  a.b.c "}) == "a.b.c"
    )
