"""Builds the responses to rejected requests."""

import json
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from contracts.errors import Failure, RequestRejected

GITLAB_PREFIX = "/api/v4/"
CODE_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "REQUEST_TOO_LARGE"}


def current_trace_id() -> str:
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def error_response(scope: Scope, failure: Failure, headers: dict[str, str] | None = None) -> Response:
    """Build the error response. GitLab runners expect a text in `message`, all other clients an error code."""
    if scope["path"].startswith(GITLAB_PREFIX):
        body: dict[str, Any] = {"message": failure.detail}
    else:
        body = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "status": failure.status,
            "error": HTTPStatus(failure.status).phrase,
            "message": failure.code,
            "path": scope.get("requested_path", scope["path"]),
            "detail": failure.detail,
            "trace_id": current_trace_id(),
        }
    headers = dict(headers or {})
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    if failure.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    # ASCII escapes: a name or path may hold lone surrogates, which UTF-8 cannot encode
    return Response(json.dumps(body), failure.status, headers, "application/json")


def router_error_response(scope: Scope, error: HTTPException) -> Response:
    """Build the response to a request with an unknown path or method, or with an id that exceeds 64 bits."""
    failure = RequestRejected(CODE_BY_STATUS.get(error.status_code, "REQUEST_MALFORMED")).failure
    return error_response(scope, failure, dict(error.headers or {}))
