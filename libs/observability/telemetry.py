"""Traces and metrics of one process: always measured, exported by OTLP only where an endpoint is configured."""

from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry

HEADER = "traceparent"
PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Telemetry:
    tracer: Tracer
    meter: Meter
    registry: CollectorRegistry  # what `/metrics` shows
    traces: TracerProvider
    metrics: MeterProvider

    def shutdown(self) -> None:
        """Send what is still waiting; blocks for some seconds when the endpoint is away."""
        self.traces.shutdown()
        self.metrics.shutdown()


def configure_telemetry(service: str, instance: str, otlp_endpoint: str | None) -> Telemetry:
    """Without an endpoint spans are not recorded, but they have real ids: `traceparent` and logs stay useful."""
    resource = Resource({"service.name": service, "service.namespace": "headrace", "service.instance.id": instance})
    sampler = ParentBased(ALWAYS_ON if otlp_endpoint else ALWAYS_OFF)
    traces = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    registry = CollectorRegistry()
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry, scope_info_enabled=False)]
    if otlp_endpoint:
        readers.append(_export(traces, otlp_endpoint.rstrip("/")))
    metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    return Telemetry(traces.get_tracer("headrace"), metrics.get_meter("headrace"), registry, traces, metrics)


def _export(traces: TracerProvider, endpoint: str) -> MetricReader:
    # imported here: a process without an endpoint saves their memory
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    return PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"))


def inject() -> str | None:
    """The `traceparent` header of the current span, if there is one."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get(HEADER)


def extract(traceparent: str | None) -> Context:
    """The context to start a span in; what cannot be read is as good as nothing: the span begins a new trace."""
    return PROPAGATOR.extract({HEADER: traceparent} if traceparent else {}, context=Context())
