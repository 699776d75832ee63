"""Middleware around the routes: canonical paths, a trace span and a metric per request, error responses."""

import asyncio
import logging
import time

from anyio import BrokenResourceError
from fastapi.routing import APIRoute
from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import RequestRejected
from gateway.errors import current_trace_id, error_response
from gateway.http.path_prefixes import canonical_path
from libs.observability.tracing import activate, extract

log = logging.getLogger("headrace.gateway")
UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client disconnected before a response started


class ObservabilityMiddleware:
    """ASGI middleware. An exception that no handler handles gives INTERNAL_SERVER_ERROR, if no response has begun."""

    def __init__(self, app: ASGIApp, tracer: Tracer, durations: Histogram, prefixes: tuple[str, ...]) -> None:
        """Create the middleware. It replaces the path prefixes of existing clients, `prefixes`, with `/api`."""
        self._app = app
        self._tracer = tracer
        self._durations = durations
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED_PATHS:
            await self._app(scope, receive, send)
            return
        scope = {
            **scope,
            "requested_path": scope["path"],
            "path": canonical_path(scope["path"], self._prefixes),
            "requested_method": scope["method"],
            # a HEAD request is handled like GET, and the server drops the body
            "method": "GET" if scope["method"] == "HEAD" else scope["method"],
        }
        traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        context = extract(traceparent.decode("latin-1"))
        started_at, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-trace-id", current_trace_id().encode())]
            await send(message)

        with activate(self._tracer.start_span(scope["method"], context, SpanKind.SERVER)) as span:
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientDisconnect:
                pass  # the client can no longer receive a response
            except asyncio.CancelledError:
                # requests are canceled only at shutdown
                log.warning("%s was aborted by the shutdown of this process", _route_name(scope))
            except Exception as error:
                if not _is_disconnect_of_stream(error):
                    log.exception("%s failed", _route_name(scope))
                    if not status:
                        failure = RequestRejected("INTERNAL_SERVER_ERROR").failure
                        await error_response(scope, failure)(scope, receive, send_with_headers)
            if span.is_recording():
                _annotate_span(span, scope, status)
        self._durations.record(
            time.perf_counter() - started_at, {"route": _route_name(scope), "status": STATUS_CLASSES[status // 100]}
        )


def _is_disconnect_of_stream(error: Exception) -> bool:
    """Return whether fastapi.sse has raised `error` because the client of a stream has disconnected."""
    return isinstance(error, ExceptionGroup) and error.split(BrokenResourceError)[1] is None


def _annotate_span(span: Span, scope: Scope, status: int) -> None:
    """Set route and status on the span. Paths and query values may hold personal data and are not recorded."""
    span.update_name(_route_name(scope))
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": _route_path(scope),
            "http.response.status_code": status,
            "url.scheme": scope.get("scheme", "http"),
        }
    )
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def _route_name(scope: Scope) -> str:
    """Return method and route template, like `GET /api/developer/builds/{build_id}`; without a route, `GET unknown`."""
    return f"{scope['method']} {_route_path(scope) or 'unknown'}"


def _route_path(scope: Scope) -> str:
    route = scope.get("route")
    return route.path_format if isinstance(route, APIRoute) else ""
