"""Request paths: prefixes of existing clients, and required roles."""

import pytest

from contracts.errors import RequestRejected
from gateway.auth import Role, read_token, role_for_path
from gateway.http.path_prefixes import canonical_path
from gateway.routes import TABLE


@pytest.mark.parametrize(
    ("requested", "expected"),
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
def test_every_known_path_prefix_maps_to_the_same_path(requested: str, expected: str) -> None:
    assert canonical_path(requested) == expected


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/guest/ping", Role.ANONYMOUS),
        ("/auth/token", Role.ANONYMOUS),
        ("/developer/builds/queueds", Role.DEVELOPER),
        ("/admin/executors", Role.ADMIN),
        ("/user/info", Role.USER),
    ],
)
def test_the_first_path_segment_decides_the_required_role(path: str, role: Role) -> None:
    assert role_for_path(path) is role


def test_every_route_has_either_a_message_or_a_handler() -> None:
    assert [route.path for route in TABLE if (route.message is None) == (route.answer is None)] == []


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer  ", b"Basic dXNlcjpwYXNz", b"\xff\xfe x"])
def test_an_invalid_authorization_header_is_rejected(header: bytes) -> None:
    with pytest.raises(RequestRejected, match="UNAUTHORIZED"):
        read_token({b"authorization": header})


def test_both_authorization_schemes_carry_a_token() -> None:
    assert (
        read_token({b"authorization": b"Bearer a.b.c"}) == read_token({b"authorization": b"TOKEN  a.b.c "}) == "a.b.c"
    )
