"""Error responses: their form, the exception handlers that send them, and their documentation."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from opentelemetry import trace
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from contracts.errors import CODES, Failure, RequestRejected
from gateway.schemas.field_codes import find_code

GITLAB_PREFIX = "/api/v4/"
CODE_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "REQUEST_TOO_LARGE"}

ANY_ROUTE = ("SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT", "TOO_MANY_REQUESTS")
TOKENS = ("UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_INVALID")
ROLES = ("FORBIDDEN", "TOKEN_SCOPE")
WRITES = ("REQUEST_MALFORMED", "REQUEST_TOO_LARGE", "REQUEST_INVALID", "CONFLICT")
COOKIES = ("SESSION_CROSS_SITE",)  # for writes with a session cookie from a page of another origin
IDEMPOTENCY = ("IDEMPOTENCY_KEY_INVALID", "IDEMPOTENCY_KEY_REUSED")
READ_ERRORS = (*TOKENS, *ROLES, *ANY_ROUTE)
WRITE_ERRORS = (*READ_ERRORS, *COOKIES, *WRITES, *IDEMPOTENCY)


class ErrorBody(BaseModel):
    """The body of an error response, except to runners."""

    timestamp: datetime = Field(description="time of the error")
    status: int = Field(description="HTTP status of the response")
    error: str = Field(description="reason phrase of the status")
    message: str = Field(
        description="stable error code:\n" + "\n".join(f"- `{name}`: {code.summary}" for name, code in CODES.items()),
        json_schema_extra={"enum": [*sorted(CODES)]},
    )
    path: str = Field(description="path of the request")
    detail: str = Field(description="explanation of the error")
    trace_id: str = Field(description="id of the request's trace, also in the server's log")


class RespondInstead(Exception):
    """Raised by a dependency to send `response` in place of the handler's response or error."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route's error codes, for the argument `responses` of the route."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        status: {
            "content": describe_body(ErrorBody),
            "description": ", ".join(f"`{code}`" for code in found),
        }
        for status, found in sorted(by_status.items())
    }


def describe_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the documentation of a JSON body, for routes of any media type. The model must be in REFERENCED_MODELS."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def register_exception_handlers(app: FastAPI) -> None:
    # Starlette's annotation requires handlers of any exception, but each gets only the class that it is registered for
    app.add_exception_handler(RequestRejected, _on_rejection)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_invalid_request)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _on_http_exception)  # type: ignore[arg-type]
    app.add_exception_handler(RespondInstead, _on_other_response)  # type: ignore[arg-type]


async def _on_rejection(request: Request, rejection: RequestRejected) -> Response:
    return error_response(request.scope, rejection.failure)


async def _on_invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Send the first validation error with its field's code. The response omits the value, which may be a secret."""
    first: dict[str, Any] = error.errors()[0]
    location: Sequence[Any] = first["loc"]
    name = next((part for part in reversed(location) if isinstance(part, str)), "")
    return error_response(
        request.scope, RequestRejected(find_code(location, first["type"]), f"{name}: {first['msg']}.").failure
    )


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    """Respond to an unknown path or method, to OPTIONS, to an id beyond 64 bits, or to a body that is too large."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join((*_allowed_methods(request), "OPTIONS"))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    failure = RequestRejected(CODE_BY_STATUS.get(error.status_code, "REQUEST_MALFORMED")).failure
    if error.status_code == 413:
        failure = failure.replace(detail=error.detail)
    return error_response(request.scope, failure, headers)


async def _on_other_response(_request: Request, instead: RespondInstead) -> Response:
    return instead.response


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of all routes with the request's path, in their order."""
    found: dict[str, None] = {}
    for route in iter_route_contexts(request.app.routes):
        if route.path and route.methods and compile_path(route.path)[0].match(request.scope["path"]):
            for method in sorted(route.methods):
                found |= dict.fromkeys(("GET", "HEAD") if method == "GET" else (method,))
    return list(found)


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
