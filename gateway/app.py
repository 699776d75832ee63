"""The gateway application: its connection to NATS, health checks, gauges, and HTTP routes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.metrics import Meter
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from contracts.builds import JobQueued
from contracts.errors import RequestRejected
from contracts.history import StreamQuery
from gateway.api import create_api
from gateway.auth import Authenticator
from gateway.context import AppState
from gateway.errors import error_response
from gateway.forwarding.coalescing import RequestCoalescer
from gateway.heartbeat import HeartbeatSender
from gateway.http.client_ip import is_local_request
from gateway.http.path_prefixes import CompatibleApi, client_prefixes
from gateway.http.static_site import StaticSite
from gateway.middleware import ObservabilityMiddleware
from gateway.streaming.live_events import LiveEvents
from gateway.streaming.long_polls import LongPollQueue
from libs.clock import Clock
from libs.messaging.nats_connection import check_round_trip, connect, disconnect
from libs.messaging.request_reply import MessageClient
from libs.observability.event_loop_monitor import monitor_event_loop
from libs.observability.health import Health
from libs.observability.metrics import SettableGauge, create_clock_offset_gauge, create_seconds_histogram
from libs.observability.probes import Probe, run_probes
from libs.observability.telemetry import Telemetry
from libs.settings import Settings
from libs.tasks import cancel_and_wait
from libs.version import VERSION

# A probe message, without a subscriber, checks the connection to NATS. Even the NATS permissions of release 0.2.0 allow
# the gateway this subject.
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
CORS_RESPONSE_HEADERS = ["Retry-After", "X-Trace-Id"]


@dataclass(frozen=True)
class Gateway:
    """The running application with its state and health checks."""

    app: FastAPI
    state: AppState
    health: Health
    draining: asyncio.Event

    def close(self) -> None:
        """Answer all held requests: long polls of runners get no job, event streams end."""
        self.state.shutting_down.set()
        self.state.long_polls.close()
        self.state.live_events.close()


@asynccontextmanager
async def open_gateway(settings: Settings, telemetry: Telemetry, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Connect to NATS and yield the running application; disconnect at the end."""
    clock = clock or Clock()
    client = await connect(settings, f"gateway {settings.instance}")
    try:
        bus = MessageClient(client)
        app_state = AppState(
            settings, bus, RequestCoalescer(), Authenticator(bus), LiveEvents(client), LongPollQueue(), asyncio.Event()
        )
        await _subscribe_to_hints(client, app_state.long_polls)
        draining = asyncio.Event()
        nats_probe = Probe("NATS", partial(check_round_trip, client, PROBE_SUBJECT))
        health = _create_health(nats_probe, draining, clock)
        gateway = Gateway(_create_application(app_state, health, telemetry), app_state, health, draining)
        _register_gauges(app_state, telemetry.meter)
        heartbeats = HeartbeatSender(client, settings.instance, clock, create_clock_offset_gauge(telemetry.meter))
        tasks = {
            asyncio.create_task(monitor_event_loop(telemetry.meter, health, "gateway")),
            asyncio.create_task(heartbeats.run()),
        }
        try:
            async with run_probes(nats_probe):
                yield gateway
        finally:
            gateway.close()
            await cancel_and_wait(tasks)
            await heartbeats.stop()
    finally:
        await disconnect(client)


def _register_gauges(app_state: AppState, meter: Meter) -> None:
    long_polls = SettableGauge.create(meter, "headrace_long_polls", "Requests of runners held until a job is queued")
    long_polls.set(lambda: len(app_state.long_polls), {})
    readers = SettableGauge.create(meter, "headrace_event_readers", "Clients connected to the live event stream")
    readers.set(lambda: len(app_state.live_events), {})


async def _subscribe_to_hints(client: Client, long_polls: LongPollQueue) -> None:
    """Wake held runner requests on hints: early notifications of queued jobs and changed runners.

    Each hint is delivered at most once; held requests recheck periodically in case one is lost.
    """

    async def on_job(message: Msg) -> None:
        long_polls.advance_cursor()
        if len(long_polls):
            long_polls.notify(JobQueued.model_validate_json(message.data))

    async def on_runner(message: Msg) -> None:
        long_polls.advance_cursor()
        if len(long_polls):
            long_polls.invalidate_runner(json.loads(message.data)["runner_uuid"])

    await client.subscribe(JOB_QUEUED_SUBJECT, cb=on_job)
    for subject in RUNNER_CHANGE_SUBJECTS:
        await client.subscribe(subject, cb=on_runner)


def _create_health(nats_probe: Probe, draining: asyncio.Event, clock: Clock) -> Health:
    async def check_draining() -> str | None:
        return "stopping" if draining.is_set() else None

    async def check_clock() -> str | None:
        return clock.find_problem()

    health = Health()
    health.register("nats", nats_probe.find_problem)
    health.register("process", check_draining)
    health.register("clock", check_clock)
    return health


def _create_application(app_state: AppState, health: Health, telemetry: Telemetry) -> FastAPI:
    meter = telemetry.meter
    durations = create_seconds_histogram(
        meter, "headrace_http_request_seconds", "Time from a request to the end of its response, by route"
    )
    apis = [api for api in CompatibleApi if getattr(app_state.settings.api, api)]
    app = create_api(apis)
    app.state.gateway = app_state
    app.router.routes.extend(_probe_routes(health, telemetry))
    app.router.default = StaticSite(app_state.settings.static)
    app.add_middleware(
        ObservabilityMiddleware, tracer=telemetry.tracer, durations=durations, prefixes=client_prefixes(apis)
    )
    app.add_middleware(
        PageCorsMiddleware,
        allow_origins=app_state.settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=CORS_REQUEST_HEADERS,
        expose_headers=CORS_RESPONSE_HEADERS,
    )
    return app


class PageCorsMiddleware(CORSMiddleware):
    """CORS for requests of web pages. Other requests, which have no Origin, skip it: it doubles the layers' time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_of_page = any(name == b"origin" for name, _ in scope["headers"])
        await (super().__call__ if is_of_page else self.app)(scope, receive, send)


def _probe_routes(health: Health, telemetry: Telemetry) -> list[Route]:
    async def alive(_request: Request) -> Response:
        return JSONResponse({"alive": True, "version": VERSION})

    async def ready(_request: Request) -> Response:
        reasons = await health.find_problems()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(request: Request) -> Response:
        """Serve metrics to local clients only. Others use the port HEADRACE_HEALTH_PORT."""
        if not is_local_request(request.scope):
            return error_response(request.scope, RequestRejected("NOT_FOUND").failure)
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]
