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

from libs import cloudevents
from libs.deciding import Recorded
from libs.ending import end
from libs.messaging import connect, disconnect, nats_address
from libs.observability.logs import in_brief
from libs.observability.tracing import within
from libs.service import TryLater, Worker
from libs.settings import Settings
from libs.workers import consumer_name, filter_subjects, hint_subjects

log = logging.getLogger("headrace.working")

LONGEST_DELAY = 10.0
PROMPT = 2.0  # seconds that the replica with the hint has for itself
FINISHING = 5.0
MAX_HINTS = 500  # that wait in one process

Work = Callable[[Recorded[Any]], Awaitable[None]]


class _Broker(NatsBroker):
    """FastStream on a connection that is made as all others are."""

    def __init__(self, settings: Settings, service: str, grace: float) -> None:
        super().__init__(nats_address(settings).servers, logger=None, graceful_timeout=grace)
        self._settings = settings
        self._service = service

    async def _connect(self) -> Client:
        connection = await connect(self._settings, f"{self._service} workers")
        self.config.connect(connection)
        return connection

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_connected

    async def part(self) -> None:
        """Close the connection for certain; `stop` leaves it open where a subscriber could not be stopped."""
        if self._connection:
            await disconnect(self._connection)


class Crew:
    """The workers of one process."""

    def __init__(
        self,
        settings: Settings,
        service: str,
        handled: Mapping[str, datetime] | None = None,
        *,
        grace: float = FINISHING,
    ) -> None:
        """`handled`: by a consumer's name the time before which all was worked off, in a system that was restored."""
        self._inbox = nats_address(settings).inbox_prefix
        self._broker = _Broker(settings, service, grace)
        self._grace = grace
        self._service = service
        self._handled = handled or {}
        self._names: list[tuple[str, str]] = []
        self._hired: list[tuple[Worker, Work]] = []
        self._hints: list[Subscription] = []
        self._prompt: set[asyncio.Task[None]] = set()
        self._in_hand: set[asyncio.Task[Any]] = set()  # what the consumers brought
        self._at_it: set[str] = set()  # events whose hint came to this process, and whose work is not over

    def hire(self, worker: Worker, work: Work) -> None:
        name = consumer_name(self._service, worker)
        self._names.append((worker.source, name))
        self._hired.append((worker, work))
        handled = self._handled.get(name)

        async def on_message(body: bytes, message: NatsMessage) -> None:
            recorded = cloudevents.from_message(message.headers, message.body)
            if handled is not None and recorded.at < handled:
                return
            age = (datetime.now(UTC) - recorded.at).total_seconds()
            if worker.prompt and (0 <= age < PROMPT or recorded.id in self._at_it):
                raise NackMessage(delay=max(PROMPT - age, 1))  # whoever got the hint is at it
            sign = asyncio.create_task(_sign_of_life(message, worker.patience / 3))
            at_it = _this_task()
            self._in_hand.add(at_it)
            try:
                await work(recorded)
            except TryLater as later:
                raise NackMessage(delay=later.seconds) from later
            except asyncio.CancelledError:
                # we stop before the work is over: another replica shall not wait until our patience is over
                with suppress(NatsError):
                    await message.raw_message.nak()
                raise
            except Exception as error:
                tries = min(message.raw_message.metadata.num_delivered, 10)  # more would be no number in the end
                delay = min(0.25 * 2**tries, LONGEST_DELAY)
                what, where = in_brief(error)
                with within(recorded.cause.traceparent):
                    log.warning("%s on %s: %s; again in %.1f s", name, recorded.id, what, delay, exc_info=where)
                raise NackMessage(delay=delay) from error
            finally:
                self._in_hand.discard(at_it)
                sign.cancel()

        for _ in range(worker.concurrency):
            self._broker.subscriber(
                filter_subjects(worker)[0],
                stream=JStream(worker.source, declare=False),
                durable=name,
                pull_sub=PullSub(batch_size=1, timeout=2),
                ack_policy=AckPolicy.NACK_ON_ERROR,  # the default would drop an event whose work failed
                decoder=_raw,
                inbox_prefix=f"{self._inbox}.".encode(),
            )(on_message)

    async def start(self, client: Client) -> None:
        await self._broker.start()
        for worker, work in self._hired:
            if worker.prompt:
                await self._listen(client, worker, work)

    async def _listen(self, client: Client, worker: Worker, work: Work) -> None:
        """Hints are shared out among the replicas; one that is lost costs the time until the durable consumer acts."""
        places = asyncio.Semaphore(worker.concurrency)

        async def at_once(recorded: Recorded[Any]) -> None:
            self._at_it.add(recorded.id)
            try:
                async with places:
                    await work(recorded)
            except Exception as error:
                with within(recorded.cause.traceparent):
                    log.warning("%s on %s: %s; left to its consumer", worker.name, recorded.id, error)
            finally:
                self._at_it.discard(recorded.id)

        async def on_hint(message: Msg) -> None:
            if len(self._prompt) >= MAX_HINTS:
                return  # the durable consumer brings the event
            task = asyncio.create_task(at_once(cloudevents.from_message(message.headers or {}, message.data)))
            self._prompt.add(task)
            task.add_done_callback(self._prompt.discard)

        group = consumer_name(self._service, worker)
        for subject in hint_subjects(worker):
            self._hints.append(await client.subscribe(subject, group, cb=on_hint))

    @property
    def is_connected(self) -> bool:
        return self._broker.is_connected

    async def missing(self, client: Client) -> list[str]:
        """Consumers that are gone: FastStream would spin on them without a word."""
        js = client.jetstream()
        gone = []
        for stream, name in self._names:
            try:
                await js.consumer_info(stream, name)
            except NotFoundError:
                gone.append(name)
        return gone

    async def stop(self) -> None:
        """Finish what is in hand within the grace; hand back the rest. Also after a start that was cut short."""
        for hint in self._hints:
            with suppress(NatsError):
                await hint.unsubscribe()
        # all at once: the broker would wait the whole grace for each of its subscribers
        finishing = [asyncio.create_task(_rest(subscriber)) for subscriber in self._broker.subscribers]
        try:
            await asyncio.wait({*finishing, *self._prompt}, timeout=self._grace)
        finally:
            await end({*finishing, *self._prompt, *self._in_hand})
            await self._broker.part()


async def _rest(subscriber: Any) -> None:
    with suppress(NatsError):  # the bus is away
        await subscriber.stop()


def _this_task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  it is a coroutine that asks
    return task


async def _raw(message: NatsMessage) -> bytes:
    return message.body


async def _sign_of_life(message: NatsMessage, every: float) -> None:
    """Tell the server that the work goes on, so that no other replica starts it too."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(every)
            with suppress(NatsError):  # the bus is away; the next sign may reach it in time
                await message.raw_message.in_progress()
