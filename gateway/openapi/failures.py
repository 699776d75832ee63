"""Collects the error codes that a route can respond with, by HTTP status."""

from typing import Any

from contracts.errors import CODES
from gateway.auth import Role
from gateway.framework.route_table import WRITES, Route
from gateway.openapi.requests import CAPTURED

OF_FIELD = {
    "owner_alias": "PROJECT_OWNER_INVALID",
    "executor_id": "EXECUTOR_NOT_FOUND",
    "repository_credential_id": "CREDENTIAL_NOT_FOUND",
    "developers_id": "DEVELOPER_NOT_FOUND",
    "members_id": "DEVELOPER_NOT_FOUND",
    "secrets_id": "SECRET_NOT_FOUND",
    "projects_id": "PROJECT_NOT_FOUND",
}
OF_CAPTURED = {
    "project_id": "PROJECT_NOT_FOUND",
    "secret_id": "SECRET_NOT_FOUND",
    "credential_id": "CREDENTIAL_NOT_FOUND",
    "user_id": "DEVELOPER_NOT_FOUND",
    "company_id": "COMPANY_NOT_FOUND",
    "company_alias": "COMPANY_NOT_FOUND",
    "project_alias": "PROJECT_NOT_FOUND",
    "executor_id": "EXECUTOR_NOT_FOUND",
    "build_id": "BUILD_NOT_FOUND",
    "job_id": "JOB_NOT_FOUND",
    "runner_uuid": "RUNNER_NOT_FOUND",
    "token_id": "TOKEN_NOT_FOUND",
    "user_alias": "DEVELOPER_NOT_FOUND",
    "key_uuid": "KEY_NOT_FOUND",
}


def failures(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes(route)):
        by_status.setdefault(CODES[code].status, []).append(code)
    return {str(status): _failure(found) for status, found in sorted(by_status.items())}


def codes(route: Route) -> list[str]:
    found = [*_of_access(route), *_of_path(route), *route.errors, "SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT"]
    if route.method in WRITES:
        found += ["REQUEST_MALFORMED", "REQUEST_TOO_LARGE", "REQUEST_INVALID", "CONFLICT"]
        found += [] if route.needs is Role.ANONYMOUS else ["IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_KEY_REUSED"]
    if route.body.fields:
        found += _of_body(route)
    return found


def _of_access(route: Route) -> list[str]:
    if route.needs is Role.ANONYMOUS:
        return []
    bad = [] if route.stranger == 403 else ["UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_INVALID"]
    return [*bad, "FORBIDDEN", "TOKEN_SCOPE"]


def _of_path(route: Route) -> list[str]:
    names = [name for name, _ in CAPTURED.findall(route.path)]
    return ["NOT_FOUND", *(OF_CAPTURED[name] for name in names if name in OF_CAPTURED)] if names else []


def _of_body(route: Route) -> list[str]:
    found = []
    for name, one in route.body.fields.items():
        wire = one.wire or name
        found += [code for code in CODES if code.startswith(route.body.code_starts(name))]
        found += [OF_FIELD[wire]] if wire in OF_FIELD else []
    return found


def _failure(found: list[str]) -> dict[str, Any]:
    status = CODES[found[0]].status
    return {
        "description": "\n".join(f"- `{code}`: {CODES[code].summary}" for code in found),
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Failure"},
                        {"properties": {"message": {"enum": found}, "status": {"const": status}}},
                    ]
                }
            }
        },
    }
