"""Required scopes of personal access tokens."""

import pytest

from contracts.identity import TokenScope
from gateway.adapters.gitflic.runner_registration import REGISTRATION_PATH
from gateway.auth import Role
from gateway.routes import RAW, TABLE
from gateway.token_scopes import required_scope

OF_RUNNERS = "/api/v4/"  # routes of runners, which use their own tokens
OF_PICTURES = "/api/upload/"  # routes of pictures, which are public


def test_every_route_that_needs_a_token_belongs_to_one_scope() -> None:
    guarded = [(route.method, route.path) for route in TABLE if route.needs is not Role.ANONYMOUS]
    assert [route for route in guarded if required_scope(*route) is None] == [("POST", "/user/tokens")]


def test_among_protocol_routes_only_live_events_accept_personal_tokens() -> None:
    assert [route.path for route in RAW if not route.path.startswith((OF_RUNNERS, OF_PICTURES, REGISTRATION_PATH))] == [
        "/api/events"
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
        ("GET", "/admin/runners/project/{owner}/{alias}", "RUNNER_READ"),
        ("GET", "/company/{alias}/runners", "RUNNER_READ"),
        ("GET", "/company/my", "COMPANY_READ"),
        ("POST", "/project/{owner}/{alias}/cicd/pipeline/start", "BUILD_WRITE"),
        ("POST", "/user", "USER_WRITE"),
        ("GET", "/admin/user/{alias}/key", "USER_READ"),
        ("GET", "/admin/history/{kind}/{id}", "SERVER_READ"),
        ("GET", "/events", "EVENT_READ"),
    ],
)
def test_the_required_scope_follows_from_the_path(method: str, path: str, scope: str) -> None:
    assert required_scope(method, path) is TokenScope(scope)


def test_reading_the_registration_token_requires_the_write_scope() -> None:
    assert required_scope("GET", "/admin/runners/registration-info") is TokenScope.RUNNER_WRITE


def test_a_path_without_a_scope_is_an_error() -> None:
    with pytest.raises(LookupError):
        required_scope("GET", "/admin/surprises")
