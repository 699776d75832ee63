"""The gateway as an application and as a process: replicas share one port and leave without dropping anybody."""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import trace
from opentelemetry.metrics import Meter
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.builds import JobQueued
from contracts.errors import RequestRejected
from contracts.history import StreamQuery
from gateway.auth import Authenticator
from gateway.coalescing import RequestCoalescer
from gateway.context import AppState
from gateway.errors import error_response
from gateway.framework.api_docs import descriptions
from gateway.framework.http_protocol import Connection
from gateway.framework.router import Address, Addresses, addresses
from gateway.heartbeat import HeartbeatSender
from gateway.http.certificate import ServerCertificate
from gateway.http.client_ip import is_local_request
from gateway.http.static_site import StaticSite
from gateway.middleware import ObservabilityMiddleware
from gateway.routes import RAW, TABLE
from gateway.streaming.long_polls import LongPollQueue
from libs.clock import Clock
from libs.messaging.request_reply import MessageClient, check_round_trip, connect, disconnect
from libs.observability.event_loop_monitor import monitor_event_loop
from libs.observability.health import Health, serve_health
from libs.observability.logs import configure_logging
from libs.observability.metrics import SettableGauge, create_clock_offset_gauge, create_seconds_histogram
from libs.observability.probes import Probe, run_probes
from libs.observability.telemetry import Telemetry, configure_telemetry
from libs.service.tasks import cancel_and_wait
from libs.settings import Settings, SettingsError
from libs.sockets import bind_reuse_port
from libs.version import VERSION

log = logging.getLogger("headrace.gateway")

CONNECTION_CLOSE = (b"connection", b"close")  # said with an answer: the next request should come to another gateway
SHUTDOWN_TIMEOUT_SECONDS = 5  # seconds for answers that are under way
DISCONNECT_SECONDS = 0.2  # seconds in which a request learns that its client is gone
LISTEN_BACKLOG = 2048
CERTIFICATE_CHECK_TICKS = 100  # ticks, for a renewed certificate
# No process answers there. The gateway's login may send to it, also on a server with the logins of 0.2.0.
PROBE_SUBJECT = StreamQuery.subject_at("identity")
JOB_QUEUED_SUBJECT = "hint.builds.*.JobQueued"
RUNNER_CHANGE_SUBJECTS = tuple(f"hint.runners.*.{name}" for name in ("RunnerEdited", "RunnerShutDown", "RunnerDeleted"))
CORS_REQUEST_HEADERS = [
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "traceparent",
]


def run(settings: Settings) -> None:
    """Run one replica until SIGTERM or SIGINT."""
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


@dataclass(frozen=True)
class Gateway:
    app: FastAPI
    state: AppState
    health: Health
    draining: asyncio.Event

    def close(self) -> None:
        """Send away whoever is held: waiting runners get no job, streams of events end."""
        self.state.shutting_down.set()
        self.state.long_polls.close()


@asynccontextmanager
async def open_gateway(settings: Settings, telemetry: Telemetry, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """The application, connected."""
    clock = clock or Clock()
    client = await connect(settings, f"gateway {settings.instance}")
    try:
        caller = MessageClient(client)
        world = AppState(
            settings, caller, RequestCoalescer(), Authenticator(caller), client, LongPollQueue(), asyncio.Event()
        )
        await _subscribe_to_hints(client, world.long_polls)
        leaving = asyncio.Event()
        bus = Probe("NATS", partial(check_round_trip, client, PROBE_SUBJECT))
        health = _create_health(bus, leaving, clock)
        gateway = Gateway(_create_application(world, health, telemetry), world, health, leaving)
        _register_gauges(world, telemetry.meter)
        heart = HeartbeatSender(client, settings.instance, clock, create_clock_offset_gauge(telemetry.meter))
        tasks = {
            asyncio.create_task(monitor_event_loop(telemetry.meter, health, "gateway")),
            asyncio.create_task(heart.run()),
        }
        try:
            async with run_probes(bus):
                yield gateway
        finally:
            gateway.close()
            await cancel_and_wait(tasks)
            await heart.stop()
    finally:
        await disconnect(client)


def _register_gauges(world: AppState, meter: Meter) -> None:
    held = SettableGauge.create(meter, "headrace_long_polls", "Requests of runners that wait for a job")
    held.set(lambda: len(world.long_polls), {})
    readers = SettableGauge.create(meter, "headrace_event_readers", "Clients that read live events")
    readers.set(lambda: len(world.event_readers), {})


async def _subscribe_to_hints(client: Client, waiting: LongPollQueue) -> None:
    """Hints come at once and at most once; what is missed so is found by asking again."""

    async def on_job(message: Msg) -> None:
        waiting.advance_cursor()
        if len(waiting):
            waiting.notify(JobQueued.model_validate_json(message.data))

    async def on_runner(message: Msg) -> None:
        waiting.advance_cursor()
        if len(waiting):
            waiting.invalidate_runner(json.loads(message.data)["runner_uuid"])

    await client.subscribe(JOB_QUEUED_SUBJECT, cb=on_job)
    for subject in RUNNER_CHANGE_SUBJECTS:
        await client.subscribe(subject, cb=on_runner)


def _create_health(bus: Probe, leaving: asyncio.Event, clock: Clock) -> Health:
    async def staying() -> str | None:
        return "stopping" if leaving.is_set() else None

    async def right_time() -> str | None:
        return clock.find_problem()

    health = Health()
    health.register("nats", bus.find_problem)
    health.register("process", staying)
    health.register("clock", right_time)
    return health


def _create_application(world: AppState, health: Health, telemetry: Telemetry) -> FastAPI:
    meter = telemetry.meter
    took = create_seconds_histogram(
        meter, "headrace_http_request_seconds", "Time from a request to the end of its answer, by route"
    )
    return Application(
        addresses(world, RAW, TABLE),
        lambda app: ObservabilityMiddleware(app, telemetry.tracer, took),
        title="Headrace",
        openapi_url=None,  # `make docs` makes it from the table instead
        routes=[
            *descriptions(),
            *_probe_routes(health, telemetry),
            Route("/{path:path}", StaticSite(world.settings.static), include_in_schema=False),
        ],
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Edge does it, with the route's name
    )


class Application(FastAPI):
    """With our layers in the place of FastAPI's own, which take a third of the time and do nothing for our routes:
    Edge answers for errors and measures, `gateway/framework/request_body.py` knows how much a body may hold."""

    def __init__(self, table: Sequence[Address], edge: Callable[[ASGIApp], ASGIApp], **more: Any) -> None:
        super().__init__(**more)
        self._table = table
        self._edge = edge

    def build_middleware_stack(self) -> ASGIApp:
        plain = self._edge(Addresses(self._table, otherwise=self.router))
        preflight = CORSMiddleware(
            plain,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=CORS_REQUEST_HEADERS,
        )

        async def layers(scope: Scope, receive: Receive, send: Send) -> None:
            await (preflight if scope.get("method") == "OPTIONS" else plain)(scope, receive, send)

        return layers


def _probe_routes(health: Health, telemetry: Telemetry) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return JSONResponse({"alive": True, "version": VERSION})

    async def ready(_request: Request) -> Response:
        reasons = await health.find_problems()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        """Not for the world: others ask at HEADRACE_HEALTH_PORT."""
        if not is_local_request(request.scope):
            return error_response(request.scope, RequestRejected("NOT_FOUND").failure)
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]


@contextmanager
def listen_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A port that replicas share: the kernel spreads the connections among them."""
    with ExitStack() as stack:
        try:
            sock = stack.enter_context(bind_reuse_port(host, port))
        except OSError as error:
            raise SettingsError(f"The gateway cannot listen on {host}:{port}: {error.strerror}.") from error
        yield sock


class Server(uvicorn.Server):
    def __init__(self, gateway: Gateway) -> None:
        super().__init__(
            uvicorn.Config(
                gateway.app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=LISTEN_BACKLOG,
                timeout_keep_alive=75,  # longer than the pauses of pollers, so that none meets a closing connection
                timeout_graceful_shutdown=2 * SHUTDOWN_TIMEOUT_SECONDS,  # for what does not even end when it is cut off
            )
        )
        self._gateway = gateway
        self._certificate = ServerCertificate.from_settings(gateway.state.settings)
        self.config.load()
        self.config.ssl = self._certificate.context if self._certificate else None

    def begin_shutdown(self) -> None:
        """Stop, the first time after a while in which whoever sends clients here learns that it should not.

        Until then all are served, and asked to come back on another connection.
        """
        patience = 0.0
        if not self._gateway.draining.is_set():
            patience = self._gateway.state.settings.leave_seconds
            self._gateway.draining.set()
            self._disable_keep_alive()
        asyncio.get_running_loop().call_later(patience, self._stop)

    def _disable_keep_alive(self) -> None:
        """Every answer from now on says it, also to requests that are held."""
        self.config.encoded_headers.append(CONNECTION_CLOSE)
        self.server_state.default_headers = [
            *self.server_state.default_headers,
            CONNECTION_CLOSE,
        ]  # uvicorn looks once a second
        for connection in self.server_state.connections:
            if isinstance(connection, Connection) and connection.cycle:
                connection.cycle.default_headers = self.server_state.default_headers

    def _stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own affair: uvicorn would raise them again and cut the shutdown short."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._certificate and counter % CERTIFICATE_CHECK_TICKS == 0:
            self._certificate.reload_if_changed()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.close()
        cutting = asyncio.create_task(self._abort_connections())
        try:
            await super().shutdown(sockets)
        finally:
            await cancel_and_wait({cutting})

    async def _abort_connections(self) -> None:
        """Who takes no answer, or gets none, within the grace keeps nobody from leaving."""
        await asyncio.sleep(SHUTDOWN_TIMEOUT_SECONDS)
        for connection in self.server_state.connections:
            connection.transport.abort()
        await asyncio.sleep(DISCONNECT_SECONDS)
        for task in self.server_state.tasks:
            task.cancel()
