"""The scope that each route requires of a personal token."""

import pytest

from contracts.identity import TokenScope
from tests.support.gateway_routes import list_routes

ROUTES = {route.name: route for route in list_routes()}


def test_every_route_that_needs_a_token_has_one_scope() -> None:
    guarded = [route for route in ROUTES.values() if route.required]
    assert [route.name for route in guarded if len(route.scopes) != 1] == [
        "PATCH /user/password",
        "PATCH /user/email",
        "POST /user/identity",
        "POST /user/tokens",
    ]


def test_only_sign_in_ping_badges_and_webhooks_need_no_token() -> None:
    assert sorted(route.name for route in ROUTES.values() if not route.required) == [
        "DELETE /auth/session",
        "GET /auth/methods",
        "GET /auth/oidc/login",
        "GET /guest/badges/{owner}/{alias}.svg",
        "GET /guest/badges/{owner}/{alias}/coverage.svg",
        "GET /guest/cc.xml",
        "GET /guest/ping",
        "POST /auth/session",
        "POST /auth/session/renew",
        "POST /auth/token",
        "POST /guest/webhooks/build/{project_id:id}",
    ]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/developer/builds/by/project/{project_id:id}", "BUILD_READ"),
        ("POST", "/developer/builds/{project_id:id}", "BUILD_WRITE"),
        ("POST", "/admin/projects", "PROJECT_WRITE"),
        ("DELETE", "/admin/projects/{project_id:id}", "PROJECT_WRITE"),
        ("PATCH", "/admin/projects/{project_id:id}/developers", "PROJECT_EDIT"),
        ("PATCH", "/admin/secrets/{secret_id:id}/projects", "SECRET_WRITE"),
        ("GET", "/developer/paginations/secret", "SECRET_READ"),
        ("GET", "/admin/runners/project/{owner_alias}/{project_alias}", "RUNNER_READ"),
        ("GET", "/company/{company_alias}/runners", "RUNNER_READ"),
        ("GET", "/admin/companies", "COMPANY_READ"),
        ("POST", "/user", "USER_WRITE"),
        ("GET", "/admin/user/{user_alias}/key", "USER_READ"),
        ("GET", "/admin/history/{kind}/{id}", "SERVER_READ"),
        ("GET", "/events", "EVENT_READ"),
    ],
)
def test_a_route_requires_the_scope_of_its_resource(method: str, path: str, scope: str) -> None:
    assert ROUTES[f"{method} {path}"].scopes == (TokenScope(scope),)


def test_reading_the_registration_token_requires_the_write_scope() -> None:
    assert ROUTES["GET /admin/runners/registration-info"].scopes == (TokenScope.RUNNER_WRITE,)
