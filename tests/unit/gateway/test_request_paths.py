"""Request paths: prefixes of existing clients, and required roles."""

import pytest

from contracts.errors import RequestRejected
from gateway.auth import Role, read_token
from gateway.http.path_prefixes import canonical_path
from tests.support.gateway_routes import GatewayRoute, list_routes


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
        ("/ui", "/ui"),
        ("/ui/projects", "/ui/projects"),
        ("/apix", "/api/apix"),
    ],
)
def test_every_known_path_prefix_maps_to_the_same_path(requested: str, expected: str) -> None:
    assert canonical_path(requested) == expected


ROLES = {"guest": None, "auth": None, "developer": Role.DEVELOPER, "admin": Role.ADMIN}


@pytest.mark.parametrize("route", list_routes(), ids=lambda route: route.name)
def test_a_route_requires_at_least_the_role_of_its_first_path_segment(route: GatewayRoute) -> None:
    role = ROLES.get(route.path.split("/")[1], Role.USER)
    actual = route.required and route.required.role
    assert actual == role or (role is Role.USER and route.name == "POST /user" and actual is Role.ADMIN)


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer  ", b"Basic dXNlcjpwYXNz", b"\xff\xfe x"])
def test_an_invalid_authorization_header_is_rejected(header: bytes) -> None:
    with pytest.raises(RequestRejected, match="UNAUTHORIZED"):
        read_token({b"authorization": header})


def test_both_authorization_schemes_carry_a_token() -> None:
    assert (
        read_token({b"authorization": b"Bearer a.b.c"}) == read_token({b"authorization": b"TOKEN  a.b.c "}) == "a.b.c"
    )
