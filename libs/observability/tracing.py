"""Helpers for OpenTelemetry spans and the propagation of trace contexts.

Exception messages are never recorded, because they may contain user input. In a trace that is not sampled, `open_span`
and `start_span` create only the trace and span ids, and `child_span` creates nothing.
"""

import re
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from datetime import datetime
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace import TraceFlags as Flags

TRACEPARENT_HEADER = "traceparent"
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
MAX_LINKS = 32  # per span; a batch may have more events
MONGODB = {"db.system.name": "mongodb"}
NATS = {"messaging.system": "nats"}

__all__ = [
    "MONGODB",
    "NATS",
    "SpanKind",
    "add_link",
    "attach_remote",
    "child_span",
    "extract",
    "inject",
    "is_sampled",
    "open_span",
    "record_past_span",
    "start_span",
]

tracer = trace.get_tracer("headrace")

Attributes = Mapping[str, str | int | float | bool]


class SpanScope(AbstractContextManager[Span]):
    """Makes a span current within a block and ends it afterwards.

    It is cheaper than the SDK's `use_span`, and records no exception messages.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._token is not None:
            detach(self._token)
        if error is not None and self._span.is_recording():
            record_error(self._span, error)
        self._span.end()


def record_error(span: Span, error: BaseException) -> None:
    """Record the error type. Rejections below status 500 and cancellations do not set the error status."""
    # only RequestRejected has a failure; the class is not imported, because agents run without pydantic
    failure = getattr(error, "failure", None)
    span.set_attribute("error.type", failure.code if failure else type(error).__name__)
    failed = failure.status >= 500 if failure else not isinstance(error, CancelledError)
    if failed:
        span.set_status(StatusCode.ERROR)


def open_span(
    name: str, kind: SpanKind, traceparent: str | None = None, attributes: Attributes | None = None, *linked: str
) -> SpanScope:
    """Open a span that continues the trace of `traceparent`, or starts a trace. Links to the `linked` traces."""
    return SpanScope(start_span(name, kind, traceparent, attributes, *linked))


def start_span(
    name: str, kind: SpanKind, traceparent: str | None = None, attributes: Attributes | None = None, *linked: str
) -> Span:
    """Start a span without making it current. The caller ends it."""
    return tracer.start_span(name, extract(traceparent), kind, attributes, create_links(linked), record_exception=False)


def child_span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """Open a child of the current span if the current span is sampled. Otherwise the scope creates no span."""
    # not `is_recording`: background work continues after the span of the request has ended
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return NO_SPAN
    return SpanScope(tracer.start_span(name, None, kind, attributes, record_exception=False))


def attach_remote(traceparent: str) -> AbstractContextManager[Span]:
    """Make a remote trace context current without a span, so that log messages carry its ids."""
    remote = _parse_traceparent(traceparent)
    return SpanScope(NonRecordingSpan(remote)) if remote else NO_SPAN


def record_past_span(
    name: str, traceparent: str, start: datetime, end: datetime, attributes: Attributes | None = None
) -> None:
    """Record a span with past times in the trace of `traceparent`, linked to the current span."""
    if not is_sampled(traceparent):
        return
    current = trace.get_current_span().get_span_context()
    links = [Link(current)] if current.is_valid else []
    start_ns = int(start.timestamp() * 1e9)
    span = tracer.start_span(name, extract(traceparent), SpanKind.INTERNAL, attributes, links, start_ns)
    span.end(max(int(end.timestamp() * 1e9), start_ns))


def add_link(traceparent: str) -> None:
    """Link the current span to the span of another trace."""
    span = trace.get_current_span()
    if span.is_recording() and (remote := _parse_traceparent(traceparent)):
        span.add_link(remote)


def create_links(traceparents: Sequence[str]) -> Sequence[Link]:
    contexts = (_parse_traceparent(traceparent) for traceparent in traceparents[:MAX_LINKS])
    return [Link(context) for context in contexts if context]


def is_sampled(traceparent: str) -> bool:
    """Return whether the sampled flag of a `traceparent` is set."""
    return traceparent[-1:] in "13579bdf" and bool(traceparent)


def inject() -> str | None:
    """Return the `traceparent` header of the current span, or None without a current span."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return None
    return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"


def extract(traceparent: str | None) -> Context:
    """Return the context of a `traceparent`. If it is missing or invalid, a span in the context starts a new trace."""
    remote = _parse_traceparent(traceparent) if traceparent else None
    return trace.set_span_in_context(NonRecordingSpan(remote), EMPTY_CONTEXT) if remote else EMPTY_CONTEXT


def _parse_traceparent(traceparent: str) -> SpanContext | None:
    found = TRACEPARENT.fullmatch(traceparent)
    if not found:
        return None
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=Flags(int(found[3], 16)))


EMPTY_CONTEXT = Context()
NO_SPAN: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
