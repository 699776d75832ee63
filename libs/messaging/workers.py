"""Workers: slow work that events start, on every replica, at least once, each event until its work returns.

FastStream subscribers on a durable pull consumer that the migration step makes. One message at a time per subscriber,
as many subscribers as the worker's concurrency: FastStream's own `max_workers` would take far more messages off the
server than it works on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from faststream import AckPolicy
from faststream.exceptions import NackMessage
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from libs.eventstore.decider import RecordedEvent
from libs.messaging import cloudevents
from libs.messaging.request_reply import connect, disconnect, parse_nats_address
from libs.messaging.worker_names import consumer_name, filter_subjects, hint_subjects
from libs.observability.logs import summarize_error
from libs.observability.tracing import attach_remote
from libs.service.declaration import RetryLater, Worker
from libs.service.tasks import cancel_and_wait
from libs.settings import Settings

log = logging.getLogger("headrace.working")

MAX_RETRY_DELAY_SECONDS = 10.0
HINT_WINDOW_SECONDS = 2.0  # seconds that the replica with the hint has for itself
SHUTDOWN_TIMEOUT_SECONDS = 5.0
MAX_PENDING_HINTS = 500  # that wait in one process

EventHandler = Callable[[RecordedEvent[Any]], Awaitable[None]]


class _Broker(NatsBroker):
    """FastStream on a connection that is made as all others are."""

    def __init__(self, settings: Settings, service: str, shutdown_timeout: float) -> None:
        super().__init__(parse_nats_address(settings).servers, logger=None, graceful_timeout=shutdown_timeout)
        self._settings = settings
        self._service = service

    async def _connect(self) -> Client:
        connection = await connect(self._settings, f"{self._service} workers")
        self.config.connect(connection)
        return connection

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def close_connection(self) -> None:
        """Close the connection for certain; `stop` leaves it open where a subscriber could not be stopped."""
        if self._connection:
            await disconnect(self._connection)


class WorkerPool:
    """The workers of one process."""

    def __init__(
        self,
        settings: Settings,
        service: str,
        restore_cutoffs: Mapping[str, datetime] | None = None,
        *,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT_SECONDS,
    ) -> None:
        """`handled`: by a consumer's name the time before which all was worked off, in a system that was restored."""
        self._inbox = parse_nats_address(settings).inbox_prefix
        self._broker = _Broker(settings, service, shutdown_timeout)
        self._shutdown_timeout = shutdown_timeout
        self._service = service
        self._restore_cutoffs = restore_cutoffs or {}
        self._consumers: list[tuple[str, str]] = []
        self._registered: list[tuple[Worker, EventHandler]] = []
        self._hint_subscriptions: list[Subscription] = []
        self._hint_tasks: set[asyncio.Task[None]] = set()
        self._consumer_tasks: set[asyncio.Task[Any]] = set()  # what the consumers brought
        self._in_progress: set[str] = set()  # events whose hint came to this process, and whose work is not over

    def register(self, worker: Worker, handler: EventHandler) -> None:
        name = consumer_name(self._service, worker)
        self._consumers.append((worker.source, name))
        self._registered.append((worker, handler))
        handled = self._restore_cutoffs.get(name)

        async def on_message(body: bytes, message: NatsMessage) -> None:
            recorded = cloudevents.from_message(message.headers, message.body)
            if handled is not None and recorded.at < handled:
                return
            age = (datetime.now(UTC) - recorded.at).total_seconds()
            if worker.start_on_hint and (0 <= age < HINT_WINDOW_SECONDS or recorded.id in self._in_progress):
                raise NackMessage(delay=max(HINT_WINDOW_SECONDS - age, 1))  # whoever got the hint is at it
            sign = asyncio.create_task(_heartbeat(message, worker.ack_wait_seconds / 3))
            at_it = _current_task()
            self._consumer_tasks.add(at_it)
            try:
                await handler(recorded)
            except RetryLater as later:
                raise NackMessage(delay=later.delay_seconds) from later
            except asyncio.CancelledError:
                # we stop before the work is over: another replica shall not wait until our patience is over
                with suppress(NatsError):
                    await message.raw_message.nak()
                raise
            except Exception as error:
                tries = min(message.raw_message.metadata.num_delivered, 10)  # more would be no number in the end
                delay = min(0.25 * 2**tries, MAX_RETRY_DELAY_SECONDS)
                what, where = summarize_error(error)
                with attach_remote(recorded.metadata.traceparent):
                    log.warning("%s on %s: %s; again in %.1f s", name, recorded.id, what, delay, exc_info=where)
                raise NackMessage(delay=delay) from error
            finally:
                self._consumer_tasks.discard(at_it)
                sign.cancel()

        for _ in range(worker.concurrency):
            self._broker.subscriber(
                filter_subjects(worker)[0],
                stream=JStream(worker.source, declare=False),
                durable=name,
                pull_sub=PullSub(batch_size=1, timeout=2),
                ack_policy=AckPolicy.NACK_ON_ERROR,  # the default would drop an event whose work failed
                decoder=_decode_raw,
                inbox_prefix=f"{self._inbox}.".encode(),
            )(on_message)

    async def start(self, client: Client) -> None:
        await self._broker.start()
        for worker, work in self._registered:
            if worker.start_on_hint:
                await self._subscribe_to_hints(client, worker, work)

    async def _subscribe_to_hints(self, client: Client, worker: Worker, handler: EventHandler) -> None:
        """Hints are shared out among the replicas; one that is lost costs the time until the durable consumer acts."""
        places = asyncio.Semaphore(worker.concurrency)

        async def at_once(recorded: RecordedEvent[Any]) -> None:
            self._in_progress.add(recorded.id)
            try:
                async with places:
                    await handler(recorded)
            except Exception as error:
                with attach_remote(recorded.metadata.traceparent):
                    log.warning("%s on %s: %s; left to its consumer", worker.name, recorded.id, error)
            finally:
                self._in_progress.discard(recorded.id)

        async def on_hint(message: Msg) -> None:
            if len(self._hint_tasks) >= MAX_PENDING_HINTS:
                return  # the durable consumer brings the event
            task = asyncio.create_task(at_once(cloudevents.from_message(message.headers or {}, message.data)))
            self._hint_tasks.add(task)
            task.add_done_callback(self._hint_tasks.discard)

        group = consumer_name(self._service, worker)
        for subject in hint_subjects(worker):
            self._hint_subscriptions.append(await client.subscribe(subject, group, cb=on_hint))

    @property
    def is_connected(self) -> bool:
        return self._broker.is_connected

    async def find_missing_consumers(self, client: Client) -> list[str]:
        """Consumers that are gone: FastStream would spin on them without a word."""
        js = client.jetstream()
        gone = []
        for stream, name in self._consumers:
            try:
                await js.consumer_info(stream, name)
            except NotFoundError:
                gone.append(name)
        return gone

    async def stop(self) -> None:
        """Finish what is in hand within the grace; hand back the rest. Also after a start that was cut short."""
        for hint in self._hint_subscriptions:
            with suppress(NatsError):
                await hint.unsubscribe()
        # all at once: the broker would wait the whole grace for each of its subscribers
        finishing = [asyncio.create_task(_stop_subscriber(subscriber)) for subscriber in self._broker.subscribers]
        try:
            await asyncio.wait({*finishing, *self._hint_tasks}, timeout=self._shutdown_timeout)
        finally:
            await cancel_and_wait({*finishing, *self._hint_tasks, *self._consumer_tasks})
            await self._broker.close_connection()


async def _stop_subscriber(subscriber: Any) -> None:
    with suppress(NatsError):  # the bus is away
        await subscriber.stop()


def _current_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  it is a coroutine that asks
    return task


async def _decode_raw(message: NatsMessage) -> bytes:
    return message.body


async def _heartbeat(message: NatsMessage, interval: float) -> None:
    """Tell the server that the work goes on, so that no other replica starts it too."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(interval)
            with suppress(NatsError):  # the bus is away; the next sign may reach it in time
                await message.raw_message.in_progress()
