"""Spans: how they begin, go on in other processes and say how they ended, without a word of what they were about.

No message of an exception is ever kept: it may quote what was sent. Where nobody looks, only what others need is made:
the ids of requests and events. Everything in between costs a glance at the present span.
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

HEADER = "traceparent"
FORM = re.compile(r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
LINKS = 32  # of one span; a batch may have more events
MONGODB = {"db.system.name": "mongodb"}
NATS = {"messaging.system": "nats"}

__all__ = [
    "MONGODB",
    "NATS",
    "SpanKind",
    "begun",
    "child",
    "extract",
    "inject",
    "link",
    "past",
    "sampled",
    "start",
    "within",
]

tracer = trace.get_tracer("headrace")

Attributes = Mapping[str, str | int | float | bool]


class Spanning(AbstractContextManager[Span]):
    """A span, current from here to the end of the block. Lighter than the SDK's own, and silent about exceptions."""

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
            note(self._span, error)
        self._span.end()


def note(span: Span, error: BaseException) -> None:
    """A refusal is an answer; everything else is an error."""
    failure = getattr(error, "failure", None)  # of a Refused, without its module: agents can do without pydantic
    span.set_attribute("error.type", failure.code if failure else type(error).__name__)
    failed = failure.status >= 500 if failure else not isinstance(error, CancelledError)
    if failed:
        span.set_status(StatusCode.ERROR)


def begun(
    name: str, kind: SpanKind, traceparent: str | None = None, attributes: Attributes | None = None, *also: str
) -> Spanning:
    """A span that goes on where `traceparent` comes from, or begins a trace: it always has ids. `also` are linked."""
    return Spanning(start(name, kind, traceparent, attributes, *also))


def start(
    name: str, kind: SpanKind, traceparent: str | None = None, attributes: Attributes | None = None, *also: str
) -> Span:
    """The same, for whoever ends it himself."""
    return tracer.start_span(name, extract(traceparent), kind, attributes, links_to(also), record_exception=False)


def child(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """A span within the present one, if that is looked at."""
    # not `is_recording`: what was begun at once goes on after the span of the request is over
    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return UNSEEN
    return Spanning(tracer.start_span(name, None, kind, attributes, record_exception=False))


def within(traceparent: str) -> AbstractContextManager[Span]:
    """No span, but what is logged here belongs to that trace."""
    there = _remote(traceparent)
    return Spanning(NonRecordingSpan(there)) if there else UNSEEN


def past(name: str, traceparent: str, start: datetime, end: datetime, attributes: Attributes | None = None) -> None:
    """What is over, told in the trace it belongs to, with a link to where it became known."""
    if not sampled(traceparent):
        return
    here = trace.get_current_span().get_span_context()
    links = [Link(here)] if here.is_valid else []
    began = int(start.timestamp() * 1e9)
    span = tracer.start_span(name, extract(traceparent), SpanKind.INTERNAL, attributes, links, began)
    span.end(max(int(end.timestamp() * 1e9), began))


def link(traceparent: str) -> None:
    """From the present span to another trace: time has passed, so it is no part of it."""
    span = trace.get_current_span()
    if span.is_recording() and (there := _remote(traceparent)):
        span.add_link(there)


def links_to(traceparents: Sequence[str]) -> Sequence[Link]:
    return [Link(there) for one in traceparents[:LINKS] if (there := _remote(one))]


def sampled(traceparent: str) -> bool:
    """Whether whoever began the trace records it."""
    return traceparent[-1:] in "13579bdf" and bool(traceparent)


def inject() -> str | None:
    """The `traceparent` header of the current span, if there is one."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return None
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"


def extract(traceparent: str | None) -> Context:
    """The context to start a span in; what cannot be read is as good as nothing: the span begins a new trace."""
    there = _remote(traceparent) if traceparent else None
    return trace.set_span_in_context(NonRecordingSpan(there), NOWHERE) if there else NOWHERE


def _remote(traceparent: str) -> SpanContext | None:
    found = FORM.fullmatch(traceparent)
    if not found:
        return None
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=Flags(int(found[3], 16)))


NOWHERE = Context()
UNSEEN: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
