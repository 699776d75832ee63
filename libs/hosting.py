"""One process of a service: connects, answers, leads if nobody else does, and stops without dropping anything."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import uvloop
from nats.aio.client import Client
from nats.errors import Error as NatsError
from opentelemetry import trace
from pymongo.errors import ConnectionFailure, PyMongoError

from contracts.errors import Refused
from contracts.heartbeat import Heartbeat
from contracts.history import GetAnswer, GetHistory, GetState
from contracts.messages import Command, Query
from libs.clock import Clock
from libs.connections import database_of, mongo, part_from, vault_of
from libs.deciding import Recorded
from libs.ending import end, first_to_end
from libs.following import Follower
from libs.handled import handled_before
from libs.leading import lead
from libs.measuring import Readings
from libs.messaging import Responder, connect, disconnect, round_trip, settled
from libs.migration import pending
from libs.observability.health import Health, serve_health
from libs.observability.logs import configure_logging
from libs.observability.metrics import Metrics
from libs.observability.probes import Probe, probing
from libs.observability.pulse import pulse
from libs.observability.telemetry import configure_telemetry
from libs.rebuilding import complete_rows
from libs.relay import Relay
from libs.replicas import Replica, remove_old
from libs.runtime import Runtime
from libs.service import Context, FollowedView, React, Service, Ticker
from libs.settings import Settings, SettingsError
from libs.tls import untrusted
from libs.views import view_collection

log = logging.getLogger("headrace.hosting")

GRACE = 5.0  # seconds to finish what is in hand after SIGTERM
REPLICAS = 600.0  # seconds between removals of processes that were not seen for long
BUS_PROBE = "settled.probe"  # every service's login may send to it, also on a server with the logins of 0.2.0
ROWS = 2.0  # seconds between looks for rows that an older release, which is being replaced, left behind


def run(service: Service, settings: Settings, clock: Clock | None = None) -> None:
    """Run one replica until SIGTERM or SIGINT."""
    configure_logging(service.name, settings.instance)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(service, settings, clock))


async def _until_told(service: Service, settings: Settings, clock: Clock | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(service, settings, stop, clock)


async def serve(service: Service, settings: Settings, stop: asyncio.Event, clock: Clock | None = None) -> None:
    """Run one replica until `stop` is set, also while it is still starting."""
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_started(service, settings, stack, clock or Clock()))
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await told
        finally:
            await end({starting, told})


async def _started(service: Service, settings: Settings, stack: AsyncExitStack, clock: Clock) -> None:
    """Ready to answer; the stack knows how to stop in good order, at whatever point of the start."""
    telemetry = configure_telemetry(service.name, settings.instance, settings.otlp_endpoint or None)
    stack.callback(telemetry.shutdown)
    trace.set_tracer_provider(telemetry.traces)
    metrics = Metrics.made_from(telemetry.meter)
    client = mongo(settings, service.name)
    stack.push_async_callback(part_from, client)
    nats = await connect(settings, f"{service.name} {settings.instance}")
    stack.push_async_callback(disconnect, nats)
    database = database_of(client, settings, service.name)
    runtime = Runtime(service, settings, database, nats, vault_of(database, settings), metrics, clock)
    health = Health()
    ready = asyncio.Event()
    _watch(health, ready, runtime.clock)
    bus = Probe("NATS", partial(round_trip, nats, BUS_PROBE))
    mongodb = Probe("MongoDB", partial(runtime.database.command, "ping"))
    health.register("nats", bus.reason)
    health.register("mongodb", mongodb.reason)
    await stack.enter_async_context(probing(bus, mongodb))
    await stack.enter_async_context(serve_health(health, telemetry.registry, settings.host, settings.health_port))
    await _wait_for_migration(service, runtime, nats)
    replica = Replica(database, service.name, settings.instance, clock, metrics.clock_offset_seconds)
    await replica.start()
    crew = await _crew(service, runtime) if service.workers else None
    responder = Responder(nats, service.name, (PyMongoError,))
    duties: set[asyncio.Task[None]] = set()

    @stack.push_async_callback
    async def leave() -> None:
        ready.clear()
        log.info("%s stops", settings.instance)
        try:
            async with asyncio.timeout(GRACE):
                await end(duties)  # first: another replica takes over while we finish
                async with asyncio.TaskGroup() as finishing:
                    finishing.create_task(responder.stop(GRACE))
                    if crew:
                        finishing.create_task(crew.stop())
                await runtime.finish(GRACE)
                await replica.stop()
        except TimeoutError:
            log.warning("%s leaves although not everything came to its end", settings.instance)

    if service.started:
        await service.started(runtime.duty("start"))
    for message_type in _answered(service):
        await responder.answer(message_type, partial(runtime.respond, message_type))
    await responder.answer(Heartbeat, runtime.hear, Heartbeat.subject_at(service.name))
    for everywhere in (GetHistory, GetState, GetAnswer):
        await responder.answer(everywhere, partial(runtime.respond, everywhere), everywhere.subject_at(service.name))
    if crew:
        await crew.start(nats)
        health.register("workers", partial(_workers, crew, nats))
    # by every replica: the leader may be of an older release, and leave what that wrote as it is
    duties.add(asyncio.create_task(_tick(runtime, Ticker("rows", ROWS, partial(_complete, runtime)))))
    readings = Readings(telemetry.meter, service.measures)
    duties.add(asyncio.create_task(pulse(telemetry.meter, health, service.name)))
    duties.add(asyncio.create_task(replica.run()))
    duties.add(
        asyncio.create_task(
            lead(nats, service.name, settings.instance, partial(_duties, runtime, nats, metrics, readings))
        )
    )
    await settled(nats)
    ready.set()
    log.info("%s is ready", settings.instance)


async def _crew(service: Service, runtime: Runtime) -> Any:
    from libs.working import Crew  # imported here: FastStream costs 13 MB that others need not pay

    crew = Crew(runtime.settings, service.name, await handled_before(runtime.database))
    for worker in service.workers:
        crew.hire(worker, partial(runtime.work, worker))
    return crew


def _answered(service: Service) -> list[type[Command] | type[Query]]:
    commands: list[Any] = [one for category in service.categories for one in category.decider.commands]
    return [*commands, *service.answers]


def _watch(health: Health, ready: asyncio.Event, clock: Clock) -> None:
    async def started() -> str | None:
        return None if ready.is_set() else "starting, or stopping"

    async def right_time() -> str | None:
        return clock.problem()

    health.register("process", started)
    health.register("clock", right_time)


async def _workers(crew: Any, nats: Client) -> str | None:
    if not crew.is_connected:
        return "the connection of the workers to NATS is lost"
    gone = await crew.missing(nats)
    return f"consumers are missing, run `headrace migrate`: {', '.join(gone)}" if gone else None


async def _wait_for_migration(service: Service, runtime: Runtime, nats: Client) -> None:
    """Streams, consumers and indexes are made by `headrace migrate`, never as a side effect of a start."""
    told = ""
    while reason := await _missing(service, runtime, nats):
        if reason != told:
            log.warning("waiting: %s", reason)
            told = reason
        await asyncio.sleep(0.5)


async def _missing(service: Service, runtime: Runtime, nats: Client) -> str | None:
    try:
        reason = await pending(service, runtime.database, nats)
    except (ConnectionFailure, NatsError, TimeoutError) as error:
        if reason := untrusted("MongoDB", error):
            raise SettingsError(reason) from None
        return f"a server does not answer ({type(error).__name__})"
    return reason and f"{reason}; run `headrace migrate`"


async def _duties(runtime: Runtime, nats: Client, metrics: Metrics, readings: Readings) -> None:
    """What one replica does for all: relay, followers, tickers. The first failure ends them, and they start anew."""
    service = runtime.service

    def on_state(name: str, stopped: bool, behind: int) -> None:
        where = {"service": service.name, "follower": name}
        metrics.followers_stopped.set(int(stopped), where)
        metrics.follower_lag.set(behind, where)

    def follower(
        name: str, source: str, apply: Any, concerns: Callable[[Any], bool], *, view: FollowedView | None = None
    ) -> Follower:
        reset = partial(runtime.database[view_collection(view)].delete_many, {}) if view else None
        return Follower(
            nats,
            runtime.database,
            name,
            source,
            apply,
            transaction=view is not None,
            concerns=concerns,
            reset=reset,
            on_state=on_state,
        )

    reactions = [
        follower(f"reactions-to-{source}", source, partial(_react, runtime, source), partial(_calls_for, policy))
        for source, policy in service.policies.items()
    ]
    views = [
        follower(
            view_collection(view), view.source, partial(runtime.apply_to_view, view), partial(_belongs, view), view=view
        )
        for view in service.views
    ]
    replicas = Ticker("replicas", REPLICAS, partial(_remove_old_replicas, runtime))
    duties = [
        Relay(nats, runtime.database, service.name, metrics, public=service.public).run(),
        *(one.run() for one in (*reactions, *views)),
        *(_tick(runtime, ticker) for ticker in (*service.tickers, replicas)),
        readings.run(partial(runtime.duty, "readings")),
    ]
    metrics.leading.set(1, {"service": service.name})
    try:
        await first_to_end([asyncio.create_task(duty) for duty in duties])
    finally:
        metrics.leading.set(0, {"service": service.name})
        metrics.withdraw()


def _calls_for(policy: React, recorded: Recorded[Any]) -> bool:
    return bool(policy(recorded))


def _belongs(view: FollowedView, recorded: Recorded[Any]) -> bool:
    return view.key(recorded) is not None


async def _react(runtime: Runtime, source: str, batch: Any, session: Any) -> None:
    await runtime.react_to_batch(source, batch)


async def _remove_old_replicas(runtime: Runtime, _context: Context) -> None:
    await remove_old(runtime.database, runtime.clock.database_time())


async def _complete(runtime: Runtime, _context: Context) -> None:
    for category in runtime.service.categories:
        await complete_rows(runtime.database, category, runtime.vault)


async def _tick(runtime: Runtime, ticker: Ticker) -> None:
    while True:
        try:
            await ticker.run(runtime.duty(ticker.name))
        except (PyMongoError, NatsError) as error:
            log.warning("ticker %s: %s; it comes again", ticker.name, type(error).__name__)
        except Refused as refused:
            log.warning("ticker %s: %s; it comes again", ticker.name, refused.code)
        except Exception:
            log.exception("ticker %s failed; it comes again", ticker.name)
        await asyncio.sleep(ticker.every)
