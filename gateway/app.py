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
from contracts.errors import Refused
from contracts.history import AboutOne
from gateway.addresses import Address, Addresses, addresses
from gateway.asked import World
from gateway.auth import Doorkeeper
from gateway.certificate import Certificate
from gateway.connection import Connection
from gateway.described import descriptions
from gateway.edge import Edge
from gateway.errors import error_response
from gateway.folder import Folder
from gateway.heartbeat import Heart
from gateway.peers import is_local
from gateway.routes import RAW, TABLE
from gateway.sharing import Sharing
from gateway.waiting import WaitingRunners
from libs.clock import Clock
from libs.ending import end
from libs.messaging import Caller, connect, disconnect, round_trip
from libs.observability.health import Health, serve_health
from libs.observability.logs import configure_logging
from libs.observability.metrics import Level, clock_offset, seconds
from libs.observability.probes import Probe, probing
from libs.observability.pulse import pulse
from libs.observability.telemetry import Telemetry, configure_telemetry
from libs.settings import Settings, SettingsError
from libs.sockets import shared
from libs.version import VERSION

log = logging.getLogger("headrace.gateway")

AND_GO = (b"connection", b"close")  # said with an answer: the next request should come to another gateway
GRACE = 5  # seconds for answers that are under way
HEARD = 0.2  # seconds in which a request learns that its client is gone
BACKLOG = 2048
LOOK_EVERY = 100  # ticks, for a renewed certificate
# No process answers there. The gateway's login may send to it, also on a server with the logins of 0.2.0.
PROBED = AboutOne.subject_at("identity")
JOB_QUEUED = "hint.builds.*.JobQueued"
RUNNER_CHANGES = tuple(f"hint.runners.*.{name}" for name in ("RunnerEdited", "RunnerShutDown", "RunnerDeleted"))
HEADERS = ["Authorization", "Cache-Control", "Content-Type", "Idempotency-Key", "Last-Event-ID", "traceparent"]


def run(settings: Settings) -> None:
    """Run one replica until SIGTERM or SIGINT."""
    configure_logging("gateway", settings.instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    telemetry = configure_telemetry("gateway", settings.instance, settings.otlp_endpoint or None)
    trace.set_tracer_provider(telemetry.traces)
    try:
        async with opened(settings, telemetry) as gateway:
            with listening(settings.host, settings.port) as sock:
                async with serve_health(gateway.health, telemetry.registry, settings.host, settings.health_port):
                    server = Server(gateway)
                    for number in (signal.SIGTERM, signal.SIGINT):
                        asyncio.get_running_loop().add_signal_handler(number, server.leave)
                    await server.serve(sockets=[sock])
    finally:
        telemetry.shutdown()


@dataclass(frozen=True)
class Gateway:
    app: FastAPI
    world: World
    health: Health
    leaving: asyncio.Event

    def close(self) -> None:
        """Send away whoever is held: waiting runners get no job, streams of events end."""
        self.world.closing.set()
        self.world.waiting.close()


@asynccontextmanager
async def opened(settings: Settings, telemetry: Telemetry, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """The application, connected."""
    clock = clock or Clock()
    client = await connect(settings, f"gateway {settings.instance}")
    try:
        caller = Caller(client)
        world = World(settings, caller, Sharing(), Doorkeeper(caller), client, WaitingRunners(), asyncio.Event())
        await _listen(client, world.waiting)
        leaving = asyncio.Event()
        bus = Probe("NATS", partial(round_trip, client, PROBED))
        health = _health(bus, leaving, clock)
        gateway = Gateway(_application(world, health, telemetry), world, health, leaving)
        _measure(world, telemetry.meter)
        heart = Heart(client, settings.instance, clock, clock_offset(telemetry.meter))
        tasks = {
            asyncio.create_task(pulse(telemetry.meter, health, "gateway")),
            asyncio.create_task(heart.beat()),
        }
        try:
            async with probing(bus):
                yield gateway
        finally:
            gateway.close()
            await end(tasks)
            await heart.stop()
    finally:
        await disconnect(client)


def _measure(world: World, meter: Meter) -> None:
    held = Level.of(meter, "headrace_long_polls", "Requests of runners that wait for a job")
    held.set(lambda: len(world.waiting), {})
    readers = Level.of(meter, "headrace_event_readers", "Clients that read live events")
    readers.set(lambda: len(world.readers), {})


async def _listen(client: Client, waiting: WaitingRunners) -> None:
    """Hints come at once and at most once; what is missed so is found by asking again."""

    async def on_job(message: Msg) -> None:
        waiting.hear()
        if len(waiting):
            waiting.call(JobQueued.model_validate_json(message.data))

    async def on_runner(message: Msg) -> None:
        waiting.hear()
        if len(waiting):
            waiting.changed(json.loads(message.data)["runner_uuid"])

    await client.subscribe(JOB_QUEUED, cb=on_job)
    for subject in RUNNER_CHANGES:
        await client.subscribe(subject, cb=on_runner)


def _health(bus: Probe, leaving: asyncio.Event, clock: Clock) -> Health:
    async def staying() -> str | None:
        return "stopping" if leaving.is_set() else None

    async def right_time() -> str | None:
        return clock.problem()

    health = Health()
    health.register("nats", bus.reason)
    health.register("process", staying)
    health.register("clock", right_time)
    return health


def _application(world: World, health: Health, telemetry: Telemetry) -> FastAPI:
    meter = telemetry.meter
    took = seconds(meter, "headrace_http_request_seconds", "Time from a request to the end of its answer, by route")
    return Application(
        addresses(world, RAW, TABLE),
        lambda app: Edge(app, telemetry.tracer, took),
        title="Headrace",
        openapi_url=None,  # `make docs` makes it from the table instead
        routes=[
            *descriptions(),
            *_probes(health, telemetry),
            Route("/{path:path}", Folder(world.settings.static), include_in_schema=False),
        ],
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Edge does it, with the route's name
    )


class Application(FastAPI):
    """With our layers in the place of FastAPI's own, which take a third of the time and do nothing for our routes:
    Edge answers for errors and measures, `gateway/bodies.py` knows how much a body may hold."""

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
            allow_headers=HEADERS,
        )

        async def layers(scope: Scope, receive: Receive, send: Send) -> None:
            await (preflight if scope.get("method") == "OPTIONS" else plain)(scope, receive, send)

        return layers


def _probes(health: Health, telemetry: Telemetry) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return JSONResponse({"alive": True, "version": VERSION})

    async def ready(_request: Request) -> Response:
        reasons = await health.reasons()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        """Not for the world: others ask at HEADRACE_HEALTH_PORT."""
        if not is_local(request.scope):
            return error_response(request.scope, Refused("NOT_FOUND").failure)
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A port that replicas share: the kernel spreads the connections among them."""
    with ExitStack() as stack:
        try:
            sock = stack.enter_context(shared(host, port))
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
                backlog=BACKLOG,
                timeout_keep_alive=75,  # longer than the pauses of pollers, so that none meets a closing connection
                timeout_graceful_shutdown=2 * GRACE,  # for what does not even end when it is cut off
            )
        )
        self._gateway = gateway
        self._certificate = Certificate.of(gateway.world.settings)
        self.config.load()
        self.config.ssl = self._certificate.context if self._certificate else None

    def leave(self) -> None:
        """Stop, the first time after a while in which whoever sends clients here learns that it should not.

        Until then all are served, and asked to come back on another connection.
        """
        patience = 0.0
        if not self._gateway.leaving.is_set():
            patience = self._gateway.world.settings.leave_seconds
            self._gateway.leaving.set()
            self._part_with_clients()
        asyncio.get_running_loop().call_later(patience, self._stop)

    def _part_with_clients(self) -> None:
        """Every answer from now on says it, also to requests that are held."""
        self.config.encoded_headers.append(AND_GO)
        self.server_state.default_headers = [*self.server_state.default_headers, AND_GO]  # uvicorn looks once a second
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
        if self._certificate and counter % LOOK_EVERY == 0:
            self._certificate.renew()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.close()
        cutting = asyncio.create_task(self._cut_off())
        try:
            await super().shutdown(sockets)
        finally:
            await end({cutting})

    async def _cut_off(self) -> None:
        """Who takes no answer, or gets none, within the grace keeps nobody from leaving."""
        await asyncio.sleep(GRACE)
        for connection in self.server_state.connections:
            connection.transport.abort()
        await asyncio.sleep(HEARD)
        for task in self.server_state.tasks:
            task.cancel()
