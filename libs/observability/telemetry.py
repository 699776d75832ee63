"""OpenTelemetry setup: traces and metrics of a process, exported by OTLP if an endpoint is configured.

The standard variables apply: endpoints, headers, batches and timeouts of the exporters, OTEL_TRACES_SAMPLER,
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_EXPORTER=none, OTEL_METRICS_EXPORTER=none, OTEL_SDK_DISABLED.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread
from time import monotonic

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.trace import Tracer, TracerProvider
from prometheus_client import CollectorRegistry, ProcessCollector

from libs.observability.non_recording_tracer import NonRecordingTracerProvider

FLUSH_TIMEOUT_SECONDS = 1.0  # limit for sending buffered telemetry at shutdown


@dataclass(frozen=True)
class Telemetry:
    tracer: Tracer
    meter: Meter
    registry: CollectorRegistry  # source of `/metrics`
    tracer_provider: TracerProvider
    shutdown_hooks: tuple[Callable[[], object], ...]

    def shutdown(self) -> None:
        """Flush and stop the exporters. An unreachable endpoint delays the exit by at most FLUSH_TIMEOUT_SECONDS."""
        # in daemon threads, because the exporters' own timeouts are longer
        leaving = [Thread(target=end, daemon=True) for end in self.shutdown_hooks]
        for thread in leaving:
            thread.start()
        end = monotonic() + FLUSH_TIMEOUT_SECONDS
        for thread in leaving:
            thread.join(max(end - monotonic(), 0))


def configure_telemetry(
    service: str, instance: str, otlp_endpoint: str | None, environ: Mapping[str, str] = os.environ
) -> Telemetry:
    """Set up telemetry. Without an endpoint spans are not recorded but have ids, for `traceparent` and logs."""
    resource = (
        Resource({"service.namespace": "headrace"})
        .merge(OTELResourceDetector().detect())
        .merge(Resource({"service.name": service, "service.instance.id": instance}))
    )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry, scope_info_enabled=False)]
    if endpoint := _resolve_endpoint("metrics", otlp_endpoint, environ):
        readers.append(_create_metric_reader(endpoint))
    metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    ends: list[Callable[[], object]] = [metrics.shutdown]
    traces: TracerProvider = NonRecordingTracerProvider()
    if endpoint := _resolve_endpoint("traces", otlp_endpoint, environ):
        traces, end = _create_tracer_provider(resource, endpoint)
        ends.append(end)
    return Telemetry(traces.get_tracer("headrace"), metrics.get_meter("headrace"), registry, traces, tuple(ends))


def _resolve_endpoint(signal: str, common: str | None, environ: Mapping[str, str]) -> str:
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip() == "none":
        return ""
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    return own or (f"{common.rstrip('/')}/v1/{signal}" if common else "")


def _create_metric_reader(endpoint: str) -> MetricReader:
    # imported here: a process without an endpoint saves the memory of the exporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter(endpoint))


def _create_tracer_provider(resource: Resource, endpoint: str) -> tuple[TracerProvider, Callable[[], None]]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return traces, traces.shutdown
