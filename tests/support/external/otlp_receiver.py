"""An OTLP/HTTP receiver on a loopback port that stores received spans and metrics."""

import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

RESPONSES: Mapping[str, Any] = {
    "/v1/traces": ExportTraceServiceResponse(),
    "/v1/metrics": ExportMetricsServiceResponse(),
}


@dataclass(frozen=True)
class ReceivedSpan:
    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int  # nanoseconds since 1970
    end: int
    attributes: Mapping[str, Any]
    links: Sequence[str]  # trace ids
    failed: bool


@dataclass
class OtlpReceiver:
    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    metrics: dict[str, set[str]] = field(default_factory=dict)  # metric name -> services that sent the metric
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make a stack export to this receiver at short intervals."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }

    def spans_of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)

    def receive(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            self.spans += _parse_spans(ExportTraceServiceRequest.FromString(body))
        else:
            for name, service in _parse_metric_names(ExportMetricsServiceRequest.FromString(body)):
                self.metrics.setdefault(name, set()).add(service)


def _parse_spans(request: Any) -> Iterator[ReceivedSpan]:
    for sent in request.resource_spans:
        service = _parse_attributes(sent.resource.attributes)["service.name"]
        for span in (span for scope in sent.scope_spans for span in scope.spans):
            yield ReceivedSpan(
                service=service,
                name=span.name,
                kind=span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                start=span.start_time_unix_nano,
                end=span.end_time_unix_nano,
                attributes=_parse_attributes(span.attributes),
                links=[link.trace_id.hex() for link in span.links],
                failed=span.status.code == span.status.STATUS_CODE_ERROR,
            )


def _parse_metric_names(request: Any) -> Iterator[tuple[str, str]]:
    for sent in request.resource_metrics:
        service = _parse_attributes(sent.resource.attributes)["service.name"]
        for metric in (metric for scope in sent.scope_metrics for metric in scope.metrics):
            yield metric.name, service


def _parse_attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.headers.append(dict(self.headers))
            receiver.receive(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            response = RESPONSES[self.path].SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(response)))
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


def list_span_paths(spans: Sequence[ReceivedSpan]) -> set[str]:
    """Return the path of each span from its root, such as `gateway GET /x > gateway GetBuild > builds GetBuild`."""
    spans_by_id = {span.span_id: span for span in spans}

    def path(span: ReceivedSpan) -> str:
        parent = spans_by_id.get(span.parent_id)
        return f"{path(parent)} > {span.service} {span.name}" if parent else f"{span.service} {span.name}"

    return {path(span) for span in spans}


def format_trace(spans: Sequence[ReceivedSpan]) -> str:
    """Return an indented listing of a trace, for failure messages."""
    span_ids = {span.span_id for span in spans}
    first = min(span.start for span in spans)

    def lines(parent: ReceivedSpan | None, depth: int) -> Iterator[str]:
        for span in spans:
            if span.parent_id == parent.span_id if parent else span.parent_id not in span_ids:
                offset, duration = (span.start - first) / 1e6, (span.end - span.start) / 1e6
                linked = f"  -> {', '.join(id_[:6] for id_ in span.links)}" if span.links else ""
                times = f"{offset:8.1f} ms {duration:8.1f} ms"
                yield f"{times}  {'  ' * depth}{span.service}: {span.name} [{span.kind}]{linked}"
                yield from lines(span, depth + 1)

    return "\n".join(lines(None, 0))
