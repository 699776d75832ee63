"""Spans of services: parents, links, ends, and redacted errors."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode

from contracts.errors import RequestRejected
from libs.observability import tracing
from libs.observability.non_recording_tracer import NonRecordingTracer
from libs.observability.tracing import (
    SpanKind,
    add_link,
    attach_remote,
    child_span,
    inject,
    open_span,
    record_past_span,
)

LAUNCH = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = LAUNCH[:-1] + "0"
TRACE = int(LAUNCH[3:35], 16)


@pytest.fixture
def exported_spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def only_span(exported_spans: InMemorySpanExporter) -> ReadableSpan:
    [span] = exported_spans.get_finished_spans()
    return span


def span_context(span: ReadableSpan) -> SpanContext:
    span_context_ = span.get_span_context()
    assert span_context_ is not None
    return span_context_


def test_a_span_continues_the_trace_of_its_parent(exported_spans: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, LAUNCH), child_span("append"):
        pass
    append, response = exported_spans.get_finished_spans()
    assert response.parent is not None
    assert append.parent is not None
    assert response.parent.span_id == int(LAUNCH[36:52], 16)
    assert append.parent.span_id == span_context(response).span_id
    assert span_context(response).trace_id == span_context(append).trace_id == TRACE


def test_a_span_records_only_the_type_of_an_exception(exported_spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="hunter2"), open_span("answer", SpanKind.SERVER):
        raise ValueError("hunter2")
    assert only_span(exported_spans).attributes == {"error.type": "ValueError"}
    assert only_span(exported_spans).status.status_code is StatusCode.ERROR
    assert "hunter2" not in only_span(exported_spans).to_json()


def test_a_rejected_command_is_not_a_span_error(exported_spans: InMemorySpanExporter) -> None:
    with pytest.raises(RequestRejected), open_span("answer", SpanKind.SERVER):
        raise RequestRejected("BUILD_NOT_FOUND", "hunter2")
    assert only_span(exported_spans).attributes == {"error.type": "BUILD_NOT_FOUND"}
    assert only_span(exported_spans).status.status_code is StatusCode.UNSET
    assert "hunter2" not in only_span(exported_spans).to_json()


def test_an_unavailable_service_is_a_span_error(exported_spans: InMemorySpanExporter) -> None:
    with pytest.raises(RequestRejected), open_span("answer", SpanKind.SERVER):
        raise RequestRejected("SERVICE_UNAVAILABLE")
    assert only_span(exported_spans).status.status_code is StatusCode.ERROR


def test_an_unsampled_trace_has_no_child_spans(exported_spans: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, UNSAMPLED), child_span("append"):
        assert str(inject()).startswith(UNSAMPLED[:36])
    assert exported_spans.get_finished_spans() == ()


def test_a_child_span_may_end_after_its_parent(exported_spans: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, LAUNCH) as span:
        span.end()
        with child_span("decide"):
            pass
    assert [span.name for span in exported_spans.get_finished_spans()] == ["answer", "decide"]


def test_a_valid_traceparent_is_linked(exported_spans: InMemorySpanExporter) -> None:
    with open_span("report", SpanKind.SERVER):
        add_link(LAUNCH)
        add_link("nonsense")
    assert [link.context.trace_id for link in only_span(exported_spans).links] == [TRACE]


def test_log_records_about_an_event_belong_to_its_trace(exported_spans: InMemorySpanExporter) -> None:
    with attach_remote(LAUNCH):
        assert inject() == LAUNCH
    with attach_remote("nonsense"):
        assert inject() is None
    assert exported_spans.get_finished_spans() == ()


def test_a_past_span_is_recorded_in_its_trace_with_its_times(exported_spans: InMemorySpanExporter) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with open_span("report", SpanKind.SERVER) as here:
        record_past_span("step", LAUNCH, start, start + timedelta(seconds=3))
    step = exported_spans.get_finished_spans()[0]
    assert span_context(step).trace_id == TRACE
    assert (step.end_time or 0) - (step.start_time or 0) == 3_000_000_000
    assert [link.context for link in step.links] == [here.get_span_context()]


def test_a_past_span_of_an_unsampled_trace_is_not_recorded(exported_spans: InMemorySpanExporter) -> None:
    record_past_span("step", UNSAMPLED, datetime.now(UTC), datetime.now(UTC))
    record_past_span("step", "", datetime.now(UTC), datetime.now(UTC))
    assert exported_spans.get_finished_spans() == ()


def test_a_batch_span_links_a_limited_number_of_events(exported_spans: InMemorySpanExporter) -> None:
    with open_span("follow", SpanKind.CONSUMER, LAUNCH, None, *[LAUNCH] * 100):
        pass
    assert len(only_span(exported_spans).links) == tracing.MAX_LINKS


def test_without_an_exporter_spans_still_have_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "tracer", NonRecordingTracer())
    with open_span("answer", SpanKind.SERVER) as span:
        assert not span.is_recording()
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", str(inject()))
