"""Spans as services make them: parents, links, ends; and what is left out of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode

from contracts.errors import Refused
from libs.observability import tracing
from libs.observability.ids import Ids
from libs.observability.tracing import SpanKind, begun, child, inject, link, past, within

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


def test_a_span_goes_on_in_the_trace_it_was_handed(seen: InMemorySpanExporter) -> None:
    with begun("answer", SpanKind.SERVER, LAUNCH), child("append"):
        pass
    append, answer = seen.get_finished_spans()
    assert answer.parent is not None
    assert append.parent is not None
    assert answer.parent.span_id == int(LAUNCH[36:52], 16)
    assert append.parent.span_id == context(answer).span_id
    assert context(answer).trace_id == context(append).trace_id == TRACE


def test_of_an_exception_only_its_kind_is_kept(seen: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="hunter2"), begun("answer", SpanKind.SERVER):
        raise ValueError("hunter2")
    assert only(seen).attributes == {"error.type": "ValueError"}
    assert only(seen).status.status_code is StatusCode.ERROR
    assert "hunter2" not in only(seen).to_json()


def test_a_refusal_is_no_error(seen: InMemorySpanExporter) -> None:
    with pytest.raises(Refused), begun("answer", SpanKind.SERVER):
        raise Refused("BUILD_NOT_FOUND", "hunter2")
    assert only(seen).attributes == {"error.type": "BUILD_NOT_FOUND"}
    assert only(seen).status.status_code is StatusCode.UNSET
    assert "hunter2" not in only(seen).to_json()


def test_a_refusal_for_want_of_a_service_is_one(seen: InMemorySpanExporter) -> None:
    with pytest.raises(Refused), begun("answer", SpanKind.SERVER):
        raise Refused("SERVICE_UNAVAILABLE")
    assert only(seen).status.status_code is StatusCode.ERROR


def test_a_trace_that_nobody_records_has_no_inner_spans(seen: InMemorySpanExporter) -> None:
    with begun("answer", SpanKind.SERVER, UNSAMPLED), child("append"):
        assert str(inject()).startswith(UNSAMPLED[:36])
    assert seen.get_finished_spans() == ()


def test_what_began_within_a_span_goes_on_after_its_end(seen: InMemorySpanExporter) -> None:
    with begun("answer", SpanKind.SERVER, LAUNCH) as span:
        span.end()
        with child("decide"):
            pass
    assert [one.name for one in seen.get_finished_spans()] == ["answer", "decide"]


def test_another_trace_is_linked(seen: InMemorySpanExporter) -> None:
    with begun("report", SpanKind.SERVER):
        link(LAUNCH)
        link("nonsense")
    assert [one.context.trace_id for one in only(seen).links] == [TRACE]


def test_what_is_logged_about_an_event_belongs_to_its_trace(seen: InMemorySpanExporter) -> None:
    with within(LAUNCH):
        assert inject() == LAUNCH
    with within("nonsense"):
        assert inject() is None
    assert seen.get_finished_spans() == ()


def test_what_is_over_is_told_where_it_belongs_with_the_times_it_had(seen: InMemorySpanExporter) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    with begun("report", SpanKind.SERVER) as here:
        past("step", LAUNCH, start, start + timedelta(seconds=3))
    step = seen.get_finished_spans()[0]
    assert context(step).trace_id == TRACE
    assert (step.end_time or 0) - (step.start_time or 0) == 3_000_000_000
    assert [one.context for one in step.links] == [here.get_span_context()]


def test_what_nobody_recorded_is_not_told_afterwards(seen: InMemorySpanExporter) -> None:
    past("step", UNSAMPLED, datetime.now(UTC), datetime.now(UTC))
    past("step", "", datetime.now(UTC), datetime.now(UTC))
    assert seen.get_finished_spans() == ()


def test_a_batch_has_links_to_no_more_than_some_of_its_events(seen: InMemorySpanExporter) -> None:
    with begun("follow", SpanKind.CONSUMER, LAUNCH, None, *[LAUNCH] * 100):
        pass
    assert len(only(seen).links) == tracing.LINKS


def test_without_a_recorder_there_are_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "tracer", Ids())
    with begun("answer", SpanKind.SERVER) as span:
        assert not span.is_recording()
        assert tracing.FORM.fullmatch(str(inject()))
