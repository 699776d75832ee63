"""Telemetry with and without an exporter, and several instances in one process."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread
from threading import enumerate as enumerate_threads

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import generate_latest

from libs.observability.telemetry import Telemetry, configure_telemetry
from libs.observability.tracing import extract, inject

TRACE = "0af7651916cd43dd8448eb211c80319c"
Received = Queue[tuple[str, bytes]]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = configure_telemetry("builds", "b-1", None)
    yield telemetry
    telemetry.shutdown()


@pytest.fixture
def received() -> Received:
    return Queue()


@pytest.fixture
def collector(received: Received) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_there_is_no_traceparent_outside_of_spans() -> None:
    assert inject() is None


def test_a_trace_continues_across_processes(telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("command"):
        sent = inject()
    with telemetry.tracer.start_as_current_span("reaction", context=extract(sent)):
        reply = inject()
    assert sent is not None
    assert reply is not None
    assert sent[3:35] == reply[3:35]
    assert sent[36:52] != reply[36:52]


@pytest.mark.parametrize("flag", ["00", "01"])
def test_the_sampling_decision_of_the_caller_is_propagated(telemetry: Telemetry, flag: str) -> None:
    with telemetry.tracer.start_as_current_span("x", context=extract(f"00-{TRACE}-b7ad6b7169203331-{flag}")):
        assert str(inject()).endswith(f"-{flag}")


@pytest.mark.parametrize("header", [None, "", "nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01", f"ff-{TRACE}-x-01"])
def test_an_invalid_traceparent_starts_a_new_trace(telemetry: Telemetry, header: str | None) -> None:
    with telemetry.tracer.start_as_current_span("outer"):
        outer = str(inject())
        with telemetry.tracer.start_as_current_span("x", context=extract(header)):
            inner = str(inject())
    assert inner[3:35] not in (TRACE, outer[3:35], "0" * 32)


def test_several_telemetry_instances_are_independent(telemetry: Telemetry) -> None:
    other = configure_telemetry("runners", "r-1", None)
    telemetry.meter.create_counter("mine").add(1)
    other.meter.create_counter("theirs").add(1)
    assert b"mine_total" in generate_latest(telemetry.registry)
    assert b"mine_total" not in generate_latest(other.registry)
    other.shutdown()


def test_spans_and_metrics_reach_the_configured_collector(collector: str, received: Received) -> None:
    telemetry = configure_telemetry("builds", "b-1", collector)
    telemetry.meter.create_counter("headrace_conflicts").add(1)
    with telemetry.tracer.start_as_current_span("command"):
        traceparent = str(inject())
    telemetry.shutdown()
    exported = dict(received.get(timeout=10) for _ in range(2))
    resource_spans = ExportTraceServiceRequest.FromString(exported["/v1/traces"]).resource_spans[0]
    (span,) = resource_spans.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("command", traceparent[3:35])
    assert int(traceparent[-2:], 16) & 1  # the trace is marked as sampled
    assert "builds" in str(resource_spans.resource)
    assert b"headrace_conflicts" in exported["/v1/metrics"]


def is_exporting() -> bool:
    return any(thread.name.startswith("Otel") for thread in enumerate_threads())


@pytest.mark.timeout(20)  # without a limit, shutdown would wait for more than half a minute
def test_shutdown_does_not_wait_for_an_unresponsive_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        telemetry = configure_telemetry("builds", "b-1", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(5000):  # more than the export queue holds
            telemetry.tracer.start_span("command").end()
        telemetry.shutdown()
        silent.settimeout(0.2)
        while is_exporting():  # reject each export; the exporter would retry a dropped connection long after the test
            with suppress(TimeoutError), silent.accept()[0] as connection:
                assert connection.recv(4) == b"POST"
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_export_can_be_switched_off_with_an_endpoint_set(variables: dict[str, str]) -> None:
    telemetry = configure_telemetry("builds", "b-1", "http://127.0.0.1:9", variables)
    with telemetry.tracer.start_as_current_span("command") as span:
        assert not span.is_recording()
        assert inject()
    assert len(telemetry.shutdown_hooks) == 1  # only the hook of the metrics reader behind `/metrics`
    telemetry.shutdown()


def test_the_sampler_variables_of_opentelemetry_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    telemetry = configure_telemetry("builds", "b-1", "http://127.0.0.1:9")
    assert not telemetry.tracer.start_span("command").is_recording()
    assert telemetry.tracer.start_span("command", extract(f"00-{TRACE}-b7ad6b7169203331-01")).is_recording()


def test_the_resource_and_endpoint_variables_of_opentelemetry_are_used(
    monkeypatch: pytest.MonkeyPatch, collector: str, received: Received
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.name=other")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector}elsewhere")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    telemetry = configure_telemetry("builds", "b-1", None)
    telemetry.tracer.start_span("command").end()
    telemetry.shutdown()
    path, body = received.get(timeout=10)
    resource = str(ExportTraceServiceRequest.FromString(body).resource_spans[0].resource)
    assert path == "/elsewhere"
    assert "prod" in resource
    assert "builds" in resource
    assert "other" not in resource
