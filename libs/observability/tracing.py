"""Helpers for OpenTelemetry spans and the propagation of trace contexts.

Exception messages are never recorded, because they may contain user input. In a trace that is not sampled, `open_span`
and `start_span` create only the trace and span ids, and `child_span` creates nothing.
"""

from asyncio import CancelledError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT_HEADER = "traceparent"
PROPAGATOR = TraceContextTextMapPropagator()
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


@contextmanager
def activate(span: Span) -> Iterator[Span]:
    """Make a span current within a block and end it afterwards."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            record_error(span, error)
            raise


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
) -> AbstractContextManager[Span]:
    """Open a span that continues the trace of `traceparent`, or starts a trace, with links to the `linked` traces."""
    return activate(start_span(name, kind, traceparent, attributes, *linked))


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
    return activate(tracer.start_span(name, None, kind, attributes, record_exception=False))


def attach_remote(traceparent: str) -> AbstractContextManager[Span]:
    """Make a remote trace context current without a span, so that log messages carry its ids."""
    remote = _parse_traceparent(traceparent)
    return activate(NonRecordingSpan(remote)) if remote else NO_SPAN


def record_past_span(
    name: str, traceparent: str, start: datetime, end: datetime, attributes: Attributes | None = None
) -> None:
    """Record a span with past times in the trace of `traceparent`, linked to the current span.

    Does nothing if the trace is not sampled.
    """
    if not is_sampled(traceparent):
        return
    current = trace.get_current_span().get_span_context()
    links = [Link(current)] if current.is_valid else []
    start_ns = int(start.timestamp() * 1e9)
    span = tracer.start_span(name, extract(traceparent), SpanKind.INTERNAL, attributes, links, start_ns)
    span.end(max(int(end.timestamp() * 1e9), start_ns))


def add_link(traceparent: str) -> None:
    """Link the current span to the span of another trace. Does nothing if the current span is not recorded."""
    span = trace.get_current_span()
    if span.is_recording() and (remote := _parse_traceparent(traceparent)):
        span.add_link(remote)


def create_links(traceparents: Sequence[str]) -> Sequence[Link]:
    contexts = (_parse_traceparent(traceparent) for traceparent in traceparents[:MAX_LINKS])
    return [Link(context) for context in contexts if context]


def is_sampled(traceparent: str) -> bool:
    """Return whether the sampled flag of a `traceparent` is set."""
    remote = _parse_traceparent(traceparent)
    return remote is not None and remote.trace_flags.sampled


def inject() -> str | None:
    """Return the `traceparent` header of the current span, or None without a current span."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT_HEADER)


def extract(traceparent: str | None) -> Context:
    """Return the context of a `traceparent`. If it is missing or invalid, a span in the context starts a new trace."""
    return PROPAGATOR.extract({TRACEPARENT_HEADER: traceparent or ""}, Context())


def _parse_traceparent(traceparent: str) -> SpanContext | None:
    remote = trace.get_current_span(extract(traceparent)).get_span_context()
    return remote if remote.is_valid else None


NO_SPAN: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
