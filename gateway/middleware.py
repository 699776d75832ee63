"""The outermost layer: one address for all prefixes, one trace per request, and an answer whatever happens inside."""

import asyncio
import logging
import time

from opentelemetry.metrics import Histogram
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import RequestRejected
from gateway.errors import current_trace_id, error_response, router_error_response
from gateway.http.path_prefixes import canonical_path
from libs.observability.tracing import SpanScope, extract

log = logging.getLogger("headrace.gateway")
UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: the client left before the answer began
CORS_HEADERS = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"Retry-After, X-Trace-Id")]
"""On every answer, so that a cache may give it to pages of any origin."""


class ObservabilityMiddleware:
    def __init__(self, app: ASGIApp, tracer: Tracer, seconds: Histogram) -> None:
        self._app = app
        self._tracer = tracer
        self._duration = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNTRACED_PATHS:
            await self._app(scope, receive, send)
            return
        scope = {**scope, "asked_path": scope["path"], "path": canonical_path(scope["path"])}
        traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        context = extract(traceparent.decode("latin-1"))
        begun, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *CORS_HEADERS, (b"x-trace-id", current_trace_id().encode())]
            await send(message)

        with SpanScope(self._tracer.start_span(scope["method"], context, SpanKind.SERVER)) as span:
            try:
                await self._handle(scope, receive, sending)
            except ClientDisconnect:
                pass  # nobody is left to answer
            except asyncio.CancelledError:
                log.warning(
                    "%s was cut off by the end of this process", _route_name(scope)
                )  # which is all that cancels it
            except Exception:
                log.exception("%s failed", _route_name(scope))
                if not status:
                    failure = RequestRejected("INTERNAL_SERVER_ERROR").failure
                    await error_response(scope, failure)(scope, receive, sending)
            if span.is_recording():
                _annotate_span(span, scope, status)
        self._duration.record(
            time.perf_counter() - begun, {"route": _route_name(scope), "status": STATUS_CLASSES[status // 100]}
        )

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
            return
        except RequestRejected as refused:
            response = error_response(scope, refused.failure)
        except HTTPException as error:
            response = router_error_response(scope, error)
        await response(scope, receive, send)


def _annotate_span(span: Span, scope: Scope, status: int) -> None:
    """The route and how it ended: paths hold names, and what was sent is nobody's business."""
    span.update_name(_route_name(scope))
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": scope.get("route_path", ""),
            "http.response.status_code": status,
            "url.scheme": scope.get("scheme", "http"),
        }
    )
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def _route_name(scope: Scope) -> str:
    """The route, not the path: ids would make a name of their own each."""
    return f"{scope['method']} {scope.get('route_path', 'unknown')}"
