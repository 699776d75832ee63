"""Entry point of a gateway replica."""

import asyncio
import signal

import uvloop
from opentelemetry import trace

from gateway.app import open_gateway
from gateway.http.server import Server, listen_socket
from libs.observability.health import serve_health
from libs.observability.logs import configure_logging
from libs.observability.telemetry import configure_telemetry
from libs.settings import Settings


def run(settings: Settings) -> None:
    """Run one gateway replica until SIGTERM or SIGINT."""
    configure_logging("gateway", settings.instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    telemetry = configure_telemetry("gateway", settings.instance, settings.otlp_endpoint or None)
    trace.set_tracer_provider(telemetry.tracer_provider)
    try:
        async with open_gateway(settings, telemetry) as gateway:
            with listen_socket(settings.host, settings.port) as sock:
                async with serve_health(gateway.health, telemetry.registry, settings.host, settings.health_port):
                    server = Server(gateway)
                    for number in (signal.SIGTERM, signal.SIGINT):
                        asyncio.get_running_loop().add_signal_handler(number, server.begin_shutdown)
                    await server.serve(sockets=[sock])
    finally:
        telemetry.shutdown()
