"""Spans as services make them: parents, links, ends; and what is left out of them."""

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
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def only(seen: InMemorySpanExporter) -> ReadableSpan:
    [span] = seen.get_finished_spans()
    return span


def context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def test_a_span_continues_the_trace_of_its_parent(seen: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, LAUNCH), child_span("append"):
        pass
    append, answer = seen.get_finished_spans()
    assert answer.parent is not None
    assert append.parent is not None
    assert answer.parent.span_id == int(LAUNCH[36:52], 16)
    assert append.parent.span_id == context(answer).span_id
    assert context(answer).trace_id == context(append).trace_id == TRACE


def test_a_span_records_only_the_type_of_an_exception(seen: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="hunter2"), open_span("answer", SpanKind.SERVER):
        raise ValueError("hunter2")
    assert only(seen).attributes == {"error.type": "ValueError"}
    assert only(seen).status.status_code is StatusCode.ERROR
    assert "hunter2" not in only(seen).to_json()


def test_a_rejected_command_is_not_a_span_error(seen: InMemorySpanExporter) -> None:
    with pytest.raises(RequestRejected), open_span("answer", SpanKind.SERVER):
        raise RequestRejected("BUILD_NOT_FOUND", "hunter2")
    assert only(seen).attributes == {"error.type": "BUILD_NOT_FOUND"}
    assert only(seen).status.status_code is StatusCode.UNSET
    assert "hunter2" not in only(seen).to_json()


def test_an_unavailable_service_is_a_span_error(seen: InMemorySpanExporter) -> None:
    with pytest.raises(RequestRejected), open_span("answer", SpanKind.SERVER):
        raise RequestRejected("SERVICE_UNAVAILABLE")
    assert only(seen).status.status_code is StatusCode.ERROR


def test_an_unsampled_trace_has_no_child_spans(seen: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, UNSAMPLED), child_span("append"):
        assert str(inject()).startswith(UNSAMPLED[:36])
    assert seen.get_finished_spans() == ()


def test_a_child_span_may_end_after_its_parent(seen: InMemorySpanExporter) -> None:
    with open_span("answer", SpanKind.SERVER, LAUNCH) as span:
        span.end()
        with child_span("decide"):
            pass
    assert [one.name for one in seen.get_finished_spans()] == ["answer", "decide"]


def test_a_valid_traceparent_is_linked(seen: InMemorySpanExporter) -> None:
    with open_span("report", SpanKind.SERVER):
        add_link(LAUNCH)
        add_link("nonsense")
    assert [one.context.trace_id for one in only(seen).links] == [TRACE]


def test_log_records_about_an_event_belong_to_its_trace(seen: InMemorySpanExporter) -> None:
    with attach_remote(LAUNCH):
        assert inject() == LAUNCH
    with attach_remote("nonsense"):
        assert inject() is None
    assert seen.get_finished_spans() == ()


def test_a_past_span_is_recorded_in_its_trace_with_its_times(seen: InMemorySpanExporter) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with open_span("report", SpanKind.SERVER) as here:
        record_past_span("step", LAUNCH, start, start + timedelta(seconds=3))
    step = seen.get_finished_spans()[0]
    assert context(step).trace_id == TRACE
    assert (step.end_time or 0) - (step.start_time or 0) == 3_000_000_000
    assert [one.context for one in step.links] == [here.get_span_context()]


def test_a_past_span_of_an_unsampled_trace_is_not_recorded(seen: InMemorySpanExporter) -> None:
    record_past_span("step", UNSAMPLED, datetime.now(UTC), datetime.now(UTC))
    record_past_span("step", "", datetime.now(UTC), datetime.now(UTC))
    assert seen.get_finished_spans() == ()


def test_a_batch_span_links_a_limited_number_of_events(seen: InMemorySpanExporter) -> None:
    with open_span("follow", SpanKind.CONSUMER, LAUNCH, None, *[LAUNCH] * 100):
        pass
    assert len(only(seen).links) == tracing.MAX_LINKS


def test_without_an_exporter_spans_still_have_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "tracer", NonRecordingTracer())
    with open_span("answer", SpanKind.SERVER) as span:
        assert not span.is_recording()
        assert tracing.TRACEPARENT.fullmatch(str(inject()))
