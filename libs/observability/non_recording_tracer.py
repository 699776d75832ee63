"""A tracer that only creates trace and span ids, for logs, responses and events, without recording spans."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import getrandbits

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import Attributes


class NonRecordingTracer(Tracer):
    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Return a span with a new id. The sampling decision is inherited from the parent."""
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id or getrandbits(128)
        return NonRecordingSpan(
            SpanContext(trace_id, getrandbits(64) or 1, is_remote=False, trace_flags=parent.trace_flags)
        )

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # the API uses a special class for such functions
        self, name: str, context: Context | None = None, *_more: object, **_attributes: object
    ) -> Iterator[Span]:
        with trace.use_span(self.start_span(name, context)) as span:
            yield span


class NonRecordingTracerProvider(TracerProvider):
    def get_tracer(self, *_name: object, **_more: object) -> Tracer:
        return NonRecordingTracer()
