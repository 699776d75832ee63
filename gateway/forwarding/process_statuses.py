"""The status of all processes, collected over NATS: each process answers one request for itself (scatter-gather)."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.errors import RequestRejected
from contracts.history import EVENT_SERVICES
from contracts.process_status import GATEWAY, GetProcessStatus, ProcessStatus
from libs.messaging.nats_client import NatsClient
from libs.observability.process_reporter import Report
from libs.tasks import SharedTasks

MIN_WAIT_SECONDS = 0.1  # minimum time for replies, also of replicas that started after the last collection
MAX_WAIT_SECONDS = 1.0
MAX_AGE_SECONDS = 1.0
MAX_PROCESSES = 1000
EVENT_READERS, LONG_POLLS = "headrace_event_readers", "headrace_long_polls"  # gauges that gateways report
EXPECTED_SERVICES = frozenset((*EVENT_SERVICES, GATEWAY))


@dataclass(frozen=True)
class Collected:
    at: datetime
    read_at: float  # the same time as `at`, by the event loop's clock
    processes: tuple[ProcessStatus, ...]  # sorted by service and instance


class ProcessStatuses:
    """Collects statuses at most once per second for all clients."""

    def __init__(self, client: NatsClient, report: Report) -> None:
        """`report` returns the status of this process, which is included even if NATS delivers no request to it."""
        self._client = client
        self._report = report
        self._running = SharedTasks[None, Collected]()
        self._latest: Collected | None = None

    async def collect(self) -> Collected:
        """Return the statuses of the processes that answer within MAX_WAIT_SECONDS. Raises SERVICE_UNAVAILABLE."""
        if self._latest and _now() - self._latest.read_at < MAX_AGE_SECONDS:
            return self._latest
        return await self._running.wait(None, self._collect)

    async def _collect(self) -> Collected:
        own = await self._report()
        answers = {(own.service_name, own.instance): own}
        expected = {(known.service_name, known.instance) for known in (self._latest.processes if self._latest else ())}
        complete = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            try:
                status = ProcessStatus.model_validate_json(message.data)
            except ValidationError:  # the message is empty: NATS reports that a service has no process
                return
            if len(answers) < MAX_PROCESSES:
                answers[status.service_name, status.instance] = status
            if expected <= answers.keys() and {service for service, _ in answers} >= EXPECTED_SERVICES:
                complete.set()

        try:
            await self._ask(on_answer, complete)
        except NatsError:
            raise RequestRejected("SERVICE_UNAVAILABLE", "the message bus is not reachable") from None
        self._latest = Collected(datetime.now(UTC), _now(), tuple(answers[key] for key in sorted(answers)))
        return self._latest

    async def _ask(self, on_answer: Callable[[Msg], Awaitable[None]], complete: asyncio.Event) -> None:
        if not self._client.is_connected:  # nats-py would send the requests after a reconnect
            raise NatsError
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=on_answer, pending_msgs_limit=MAX_PROCESSES)
        try:
            for service in sorted(EXPECTED_SERVICES):
                query = GetProcessStatus(of=service)
                await self._client.publish(query.target_subject(), query.model_dump_json().encode(), reply=inbox)
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    await asyncio.sleep(MIN_WAIT_SECONDS)
                    await complete.wait()
        finally:
            with suppress(NatsError):  # raised if the connection is lost
                await subscription.unsubscribe()


def _now() -> float:
    return asyncio.get_running_loop().time()
