"""The agent's telemetry. It is exported to the endpoint in OpenTelemetry's standard variables, if one is set."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from prometheus_client import CollectorRegistry, ProcessCollector

from libs.observability.logs import RateLimitFilter

ENDPOINT_VARIABLES = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


@contextmanager
def agent_telemetry(instance: str) -> Iterator[CollectorRegistry]:
    """Yield the registry for `/metrics`. If an endpoint is set, export telemetry and flush it at the end."""
    if not any(os.environ.get(name, "").strip() for name in ENDPOINT_VARIABLES):
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        yield registry
        return
    from libs.observability.telemetry import configure_telemetry  # the SDK needs much memory

    for handler in logging.getLogger().handlers:
        handler.addFilter(RateLimitFilter())
    telemetry = configure_telemetry("agent", instance, os.environ.get(ENDPOINT_VARIABLES[0]))
    trace.set_tracer_provider(telemetry.tracer_provider)
    try:
        yield telemetry.registry
    finally:
        telemetry.shutdown()
