"""The gateway application: its connection to NATS, health checks, gauges, and HTTP routes."""

import asyncio
import json
import time
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
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from contracts.builds import JobQueued
from contracts.errors import RequestRejected
from contracts.history import StreamQuery
from contracts.process_status import GATEWAY, ProcessStatus
from gateway.api import create_api
from gateway.auth import Authenticator
from gateway.context import AppState
from gateway.errors import error_response
from gateway.forwarding.coalescing import RequestCoalescer
from gateway.forwarding.process_statuses import EVENT_READERS, LONG_POLLS, ProcessStatuses
from gateway.heartbeat import HeartbeatSender
from gateway.http.client_ip import is_local_request
from gateway.http.console import CONSOLE_PATH, Console
from gateway.http.path_prefixes import CompatibleApi, client_prefixes
from gateway.http.rate_limits import RateLimits
from gateway.http.static_site import StaticSite
from gateway.middleware import ObservabilityMiddleware
from gateway.streaming.event_access import EventAudiences
from gateway.streaming.live_events import LiveEvents
from gateway.streaming.log_growth import LogGrowth
from gateway.streaming.log_reader import LogReaders
from gateway.streaming.long_polls import LongPollQueue
from libs.clock import Clock
from libs.messaging.hints import accept_offer
from libs.messaging.nats_connection import check_round_trip, connect, disconnect
from libs.messaging.request_reply import MessageClient
from libs.observability.event_loop_monitor import EventLoopMonitor
from libs.observability.health import Health
from libs.observability.metrics import SettableGauge, create_clock_offset_gauge, create_seconds_histogram
from libs.observability.probes import Probe, run_probes
from libs.observability.process_reporter import ProcessReporter, answer_status_requests
from libs.observability.telemetry import Telemetry
from libs.settings import Settings
from libs.tasks import cancel_and_wait
from libs.version import VERSION

# Requests to this subject, which has no subscriber, check the connection to NATS. The NATS permissions of release 0.2.0
# allow the gateway this subject, too.
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
        """Answer all held requests: long polls of runners get no job, streams of events and logs end."""
        self.state.shutting_down.set()
        self.state.long_polls.close()
        self.state.live_events.close()
        self.state.log_readers.growth.close()


@asynccontextmanager
async def open_gateway(settings: Settings, telemetry: Telemetry, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Connect to NATS and yield the running application; disconnect at the end."""
    clock = clock or Clock()
    client = await connect(settings, f"gateway {settings.instance}")
    try:
        bus, coalescer = MessageClient(client), RequestCoalescer()
        long_polls, live_events = LongPollQueue(), LiveEvents(client, EventAudiences(bus, time.monotonic))
        draining = asyncio.Event()
        nats_probe = Probe("NATS", partial(check_round_trip, client, PROBE_SUBJECT))
        health = _create_health(nats_probe, draining, clock)
        monitor = EventLoopMonitor(telemetry.meter, health, GATEWAY)
        reporter = ProcessReporter(GATEWAY, settings.instance, health, monitor)
        report = partial(_report_gateway, reporter, live_events, long_polls)
        app_state = AppState(
            settings,
            bus,
            coalescer,
            Authenticator(bus),
            RateLimits(settings.rate_limit),
            live_events,
            LogReaders(bus, coalescer, LogGrowth(client)),
            long_polls,
            ProcessStatuses(client, report),
            asyncio.Event(),
        )
        open_offers = await _subscribe_to_hints(client, long_polls)
        await answer_status_requests(client, GATEWAY, report)
        gateway = Gateway(_create_application(app_state, health, telemetry), app_state, health, draining)
        _register_gauges(app_state, telemetry.meter)
        heartbeats = HeartbeatSender(client, settings.instance, clock, create_clock_offset_gauge(telemetry.meter))
        tasks = {
            asyncio.create_task(monitor.run()),
            asyncio.create_task(heartbeats.run()),
        }
        try:
            async with run_probes(nats_probe):
                yield gateway
        finally:
            gateway.close()
            await cancel_and_wait({*tasks, *open_offers})
            await heartbeats.stop()
    finally:
        await disconnect(client)


async def _report_gateway(
    reporter: ProcessReporter, live_events: LiveEvents, long_polls: LongPollQueue
) -> ProcessStatus:
    status = await reporter.report()
    return status.replace(gauges={EVENT_READERS: len(live_events), LONG_POLLS: len(long_polls)})


def _register_gauges(app_state: AppState, meter: Meter) -> None:
    long_polls = SettableGauge.create(meter, LONG_POLLS, "Requests of runners held until a job is queued")
    long_polls.set(lambda: len(app_state.long_polls), {})
    readers = SettableGauge.create(meter, EVENT_READERS, "Clients connected to the live event stream")
    readers.set(lambda: len(app_state.live_events), {})
    logs = SettableGauge.create(meter, "headrace_log_readers", "Clients connected to the stream of a job's log")
    logs.set(lambda: len(app_state.log_readers.growth), {})


async def _subscribe_to_hints(client: Client, long_polls: LongPollQueue) -> set[asyncio.Task[None]]:
    """Wake held runner requests on hints: early notifications of queued jobs and changed runners.

    Each hint is delivered at most once; held requests recheck periodically in case a hint is lost. A queued job is
    offered to all gateways. Return the set of the tasks that accept offers.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def on_job(message: Msg) -> None:
        long_polls.advance_cursor()
        if not len(long_polls):
            return
        job = JobQueued.model_validate_json(message.data)
        if message.reply:
            task = asyncio.create_task(long_polls.notify_if_granted(job, partial(accept_offer, client, message)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:  # a builds service of release 0.2.0 makes no offers
            long_polls.notify(job)

    async def on_runner(message: Msg) -> None:
        long_polls.advance_cursor()
        if len(long_polls):
            long_polls.invalidate_runner(json.loads(message.data)["runner_uuid"])

    await client.subscribe(JOB_QUEUED_SUBJECT, cb=on_job)
    for subject in RUNNER_CHANGE_SUBJECTS:
        await client.subscribe(subject, cb=on_runner)
    return tasks


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
    app.router.routes.append(Mount(CONSOLE_PATH, Console()))
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
    """CORS for requests of web pages. Requests without Origin skip it, which halves the time spent in middleware."""

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
