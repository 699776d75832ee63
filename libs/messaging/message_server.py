"""The server of commands and queries over NATS request/reply.

It uses nats-py directly, with one task per message, which takes less CPU time than FastStream's subscribers (see
docs/adr/0032).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.errors import CODES, Failure, RequestRejected
from contracts.messages import Command, Query, UnknownEvent
from libs.eventstore import OutcomeUnknown, StoreUnavailable, WrongExpectedVersion
from libs.messaging.nats_connection import CLOSE_TIMEOUT_SECONDS, flush_to_server
from libs.messaging.request_reply import FAILURE_HEADER, Headers
from libs.security.erased_keys import KeyErased

log = logging.getLogger("headrace.messaging")

# Limits per process. Requests that exceed a limit are rejected with SERVICE_UNAVAILABLE and can be retried after one
# second.
MAX_CONCURRENT_REQUESTS = 1000
MAX_CONCURRENT_REQUEST_BYTES = 256 * 1024 * 1024

RequestHandler = Callable[[bytes, Headers], Awaitable[bytes]]


class MessageServer:
    """Handles requests in a queue group, one task per request. Stopping finishes the requests that have arrived."""

    def __init__(self, client: Client, group: str, outage_errors: tuple[type[Exception], ...] = ()) -> None:
        """`outage_errors`: exceptions that mean that the database does not respond."""
        self._client = client
        self._group = group
        self._outage_errors: tuple[type[Exception], ...] = (StoreUnavailable, *outage_errors)
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._task_bytes = 0  # bytes of all requests in `_tasks`
        self._rejected_count = 0  # rejected requests since the process was last idle

    def _is_full(self, message: Msg) -> bool:
        # with no request in progress, accept one of any size, because a large one would never be accepted otherwise
        if not self._tasks:
            return False
        size = self._task_bytes + len(message.data)
        return len(self._tasks) >= MAX_CONCURRENT_REQUESTS or size > MAX_CONCURRENT_REQUEST_BYTES

    async def serve(
        self, message_type: type[Command] | type[Query], handler: RequestHandler, subject: str = ""
    ) -> None:
        """Subscribe to a message type. `subject` replaces the type's own subject."""

        async def on_message(message: Msg) -> None:
            if self._is_full(message):
                await self._reject(message)
                return
            task = asyncio.create_task(self._respond(message, handler))
            self._tasks.add(task)
            self._task_bytes += len(message.data)
            task.add_done_callback(partial(self._on_done, len(message.data)))

        subject = subject or message_type.subject()
        self._subscriptions.append(await self._client.subscribe(subject, self._group, cb=on_message))

    async def stop(self, timeout: float) -> None:
        """Stop subscribing and finish the requests in progress, but end after `timeout` seconds at the latest."""
        flush_timeout = timeout if self._client.is_connected else CLOSE_TIMEOUT_SECONDS
        with suppress(TimeoutError, NatsError):  # without a connection no more requests arrive
            async with asyncio.timeout(timeout):
                for subscription in self._subscriptions:
                    # `drain` alone drops messages that arrive before the server has processed it: its ping can overtake
                    # the unsubscription, which nats-py buffers
                    await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001
                await flush_to_server(self._client, flush_timeout)
                drains = [subscription.drain() for subscription in self._subscriptions]  # type: ignore[no-untyped-call]
                await asyncio.gather(*drains)
                if self._tasks:
                    await asyncio.wait(self._tasks)
                await flush_to_server(self._client, flush_timeout)

    def _on_done(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._task_bytes -= size
        if not self._tasks and self._rejected_count:
            log.warning("%s: %d requests were rejected because of overload", self._group, self._rejected_count)
            self._rejected_count = 0

    async def _reject(self, message: Msg) -> None:
        """Reject immediately instead of queueing, because services that wait for each other could deadlock."""
        if not self._rejected_count:
            log.warning(
                "%s: overloaded by %d concurrent requests; further requests are rejected", self._group, len(self._tasks)
            )
        self._rejected_count += 1
        rejected = RequestRejected("SERVICE_UNAVAILABLE", "too many concurrent requests; try again", retry_after=1)
        await self._send(message, rejected.failure.model_dump_json().encode(), {FAILURE_HEADER: "1"})

    async def _respond(self, message: Msg, handler: RequestHandler) -> None:
        headers = message.headers or {}
        try:
            answer, reply_headers = await handler(message.data, headers), None
            if len(answer) > self._client.max_payload:
                sizes = f"{len(answer)} bytes; the limit is {self._client.max_payload}"
                raise RequestRejected("ANSWER_TOO_LARGE", f"The answer has {sizes}. Request smaller pages.")
        except Exception as error:
            failure = _to_failure(error, message.subject, self._outage_errors)
            answer, reply_headers = failure.model_dump_json().encode(), {FAILURE_HEADER: "1"}
        await self._send(message, answer, reply_headers)

    async def _send(self, message: Msg, answer: bytes, headers: dict[str, str] | None) -> None:
        try:
            await self._client.publish(message.reply, answer, headers=headers)
        except NatsError as error:
            log.warning("%s: sending the reply failed (%s)", message.subject, type(error).__name__)


def _to_failure(error: Exception, subject: str, outage_errors: tuple[type[Exception], ...]) -> Failure:
    """Return the reply for an error. Unexpected errors are logged and not disclosed."""
    if isinstance(error, outage_errors):
        log.warning("%s: the database does not respond (%s)", subject, type(error).__name__)
        return RequestRejected("SERVICE_UNAVAILABLE", "the database does not respond").failure
    match error:
        case RequestRejected() if error.code in CODES:
            return error.failure
        case ValidationError():
            # the input is left out, because it may contain a secret
            details = error.errors(include_input=False)
            lines = (f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in details)
            return RequestRejected("REQUEST_INVALID", "; ".join(lines)).failure
        case WrongExpectedVersion():
            return RequestRejected("CONFLICT").failure
        case KeyErased():
            detail = "It was deleted, and its encrypted data cannot be read anymore."
            return RequestRejected("NOT_FOUND", detail).failure
        case UnknownEvent():
            log.warning("%s: the event was recorded by a later release: %s", subject, error)
            return RequestRejected("SERVICE_UNAVAILABLE", "a later release recorded the event; try again").failure
        case OutcomeUnknown():
            return RequestRejected("SERVICE_TIMEOUT", "the connection to the database failed during the commit").failure
        case _:
            log.error("%s failed", subject, exc_info=error)
            status, summary = CODES["INTERNAL_SERVER_ERROR"]
            return Failure(code="INTERNAL_SERVER_ERROR", status=status, detail=summary)
