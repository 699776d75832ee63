"""Commands, queries and their answers over NATS request/reply: the only place that subscribes to them.

Bare nats-py with a task per message: measured here at twice the rate of FastStream's sequential subscribers, see
docs/adr. Every failure is an answer: a reply with the header `Failure` carries a Failure, all others the result.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    AuthorizationError,
    ConnectionClosedError,
    MaxPayloadError,
    NoRespondersError,
    SecureConnWantedError,
)
from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts.errors import CODES, Failure, RequestRejected
from contracts.messages import Command, Message, Query, UnknownEvent
from libs.eventstore import OutcomeUnknown, StoreUnavailable, WrongExpectedVersion
from libs.eventstore.decider import SYSTEM, Actor
from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress
from libs.messaging.nats_client import (
    FLUSH_TIMEOUT_SECONDS,
    MAX_OUTSTANDING_PINGS,
    PING_INTERVAL_SECONDS,
    RECONNECT_DELAY_SECONDS,
    NatsClient,
    ServerSelector,
)
from libs.observability.tracing import NATS, SpanKind, child_span, inject
from libs.security.erased_keys import KeyErased
from libs.security.tls import create_client_context, explain_untrusted
from libs.service.tasks import cancel_and_wait
from libs.settings import Settings, SettingsError

log = logging.getLogger("headrace.messaging")

COMMAND_ID_HEADER = "Headrace-Command-Id"
RETURN_QUERY_HEADER = "Headrace-Showing"
MAY_BE_DUPLICATE_HEADER = "Headrace-Repeatable"
FINGERPRINT_HEADER = "Headrace-Fingerprint"
ACTOR_HEADER = "Headrace-Actor"
TRACE_HEADER = "traceparent"
FAILURE_HEADER = "Failure"

CLOSE_TIMEOUT_SECONDS = 1.0  # seconds for a server to hear that we leave
ROUND_TRIP_TIMEOUT_SECONDS = 2.0

# In one process at a time. The next ones are refused, and their senders try again.
MAX_CONCURRENT_REQUESTS = 1000
MAX_CONCURRENT_REQUEST_BYTES = 256 * 1024 * 1024

Headers = Mapping[str, str]
RequestHandler = Callable[[bytes, Headers], Awaitable[bytes]]


async def connect(settings: Settings, name: str, *, timeout: float | None = None) -> NatsClient:
    """A connection that never gives up; requests while no server answers are refused, not buffered.

    A server that hangs is noticed like one that dies, a few seconds later; then any other server of the cluster is
    used, whether HEADRACE_NATS_URL names it or the cluster does. Raises SettingsError where trying again at the start
    would be of no use, and TimeoutError after `patience` seconds.
    """
    address = parse_nats_address(settings)
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    told: set[str] = set()  # why it was in vain to connect: ten times a second would be too often to hear it

    async def on_error(error: Exception) -> None:
        client.record_permission_error(error)
        reason = _explain_connection_error(error)
        if reason and not refused.done():
            refused.set_result(reason)
        if reason and (reason not in told or _is_permission_error(error)):
            log.error("%s", reason)
        elif not reason and (not isinstance(error, OSError) or type(error).__name__ not in told):
            log.warning("NATS: %s", type(error).__name__)
        told.add(reason or type(error).__name__)

    async def on_loss() -> None:
        told.clear()
        client.clear_permission_errors()
        client.fail_open_requests()

    async def on_reconnect() -> None:
        if not choice.record_connected() and len(client.servers) > 1:
            client.schedule_rebalance(choice)
        log.info("NATS: connected to %s", client.connected_url.netloc if client.connected_url else "")

    client = NatsClient()
    choice = ServerSelector(client)
    own = settings.ca_file or settings.client_certificate
    connecting = asyncio.create_task(
        client.connect(
            list(address.servers),
            name=name,
            user=address.user,
            password=address.password,
            token=address.token,
            inbox_prefix=address.inbox_prefix,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_DELAY_SECONDS,  # type: ignore[arg-type]
            reconnect_to_server_handler=choice,
            ping_interval=PING_INTERVAL_SECONDS,  # type: ignore[arg-type]
            max_outstanding_pings=MAX_OUTSTANDING_PINGS,
            flush_timeout=FLUSH_TIMEOUT_SECONDS,
            flusher_queue_size=0,  # unbounded: with a full one pings would wait, too
            connect_timeout=2,
            error_cb=on_error,
            disconnected_cb=on_loss,
            reconnected_cb=on_reconnect,
            allow_reconnect=True,
            tls=create_client_context(settings.ca_file, settings.client_certificate) if own else None,
        )
    )
    try:
        either: set[asyncio.Future[Any]] = {connecting, refused}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
        if not connecting.done():
            raise SettingsError(refused.result()) if refused.done() else TimeoutError
        connecting.result()
    except BaseException:  # told to stop meanwhile, as well: there may be a connection already
        await cancel_and_wait({connecting})
        await disconnect(client)
        raise
    choice.record_connected()
    return client


def parse_nats_address(settings: Settings) -> NatsAddress:
    """Raises SettingsError."""
    try:
        return NatsAddress.parse(settings.nats_url)
    except InvalidNatsAddress as error:
        raise SettingsError(f"HEADRACE_NATS_URL {error}.") from None


def _explain_connection_error(error: Exception) -> str | None:
    """What an operator has to change, in a sentence; nothing for what passes by itself."""
    if _is_permission_error(error):
        return f"NATS: {error}"  # a defect: nothing else would say so
    if isinstance(error, SecureConnWantedError):
        return "NATS speaks no TLS, although its address in HEADRACE_NATS_URL begins with tls."
    if isinstance(error, AuthorizationError) or "authorization violation" in str(error).lower():
        return "NATS refuses the login of HEADRACE_NATS_URL."
    return explain_untrusted("NATS", error)


def _is_permission_error(error: Exception) -> bool:
    return "permissions violation" in str(error).lower()


async def flush_to_server(client: Client, timeout: float = CLOSE_TIMEOUT_SECONDS) -> None:
    """The server has seen all that was sent before; the client's own `flush` overtakes what waits in its buffer."""
    with suppress(NatsError):  # nobody answers, and the server says so after all that came before
        await client.request(f"settled.{uuid4().hex}", timeout=timeout)


async def check_round_trip(client: Client, subject: str) -> None:
    """Send a request through the server to where no process answers, which the server says at once.

    Raises NatsError when it does not. `subject` is one that the login may send to.
    """
    if not client.is_connected:
        raise ConnectionClosedError
    with suppress(NoRespondersError):
        await client.request(subject, timeout=ROUND_TRIP_TIMEOUT_SECONDS)


async def disconnect(client: Client) -> None:
    """Without complaint: a server that is away or hangs keeps nobody from leaving."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()
    except (NatsError, OSError, RuntimeError, TimeoutError) as error:  # uvloop raises RuntimeError on a lost connection
        log.info("NATS was left without a word: %s", type(error).__name__)


class ReturnQuery:
    """A question about the stream that a command went to; its answer takes the place of Done, without another round."""

    def __init__(self, message: type[Message], id_field: str, **fixed: Any) -> None:
        self.message = message
        self.header = json.dumps([message.wire_name, id_field, fixed])

    @staticmethod
    def parse(header: str, messages: Mapping[str, type[Message]], stream: str) -> Message:
        name, id_field, fixed = json.loads(header)
        return messages[name].model_validate({id_field: stream.partition("-")[2], **fixed})


class MessageClient:
    """Sends commands and queries to whichever replica of a service takes them."""

    def __init__(self, client: Client, allowed: Collection[type[Message]] | None = None) -> None:
        """`calls`: what may be sent; None: anything. The server knows them too, and would drop others silently."""
        self._client = client
        self._allowed = allowed

    async def query(self, query: Query, *, actor: Actor = SYSTEM, timeout: float = 2.0) -> bytes:
        """The answer's JSON. Raises Refused with the service's own code, SERVICE_UNAVAILABLE or SERVICE_TIMEOUT."""
        return await self._request(query.target_subject(), query, {ACTOR_HEADER: _encode_actor(actor)}, timeout)

    async def send(
        self,
        command: Command,
        *,
        actor: Actor = SYSTEM,
        command_id: str | None = None,
        fingerprint: str = "",
        return_query: ReturnQuery | None = None,
        timeout: float = 5.0,
    ) -> bytes:
        """The answer's JSON. A given `command_id` makes it safe to tell the same again: it is recorded once.

        `fingerprint` tells requests apart that come with the same id: Refused with IDEMPOTENCY_KEY_REUSED.
        """
        headers = {ACTOR_HEADER: _encode_actor(actor), COMMAND_ID_HEADER: command_id or str(uuid4())}
        if return_query:
            headers[RETURN_QUERY_HEADER] = return_query.header
        if command_id:
            headers[MAY_BE_DUPLICATE_HEADER] = "1"
        if fingerprint:
            headers[FINGERPRINT_HEADER] = fingerprint
        return await self._request(command.subject(), command, headers, timeout)

    async def _request(self, subject: str, message: Message, headers: dict[str, str], timeout: float) -> bytes:
        if self._allowed is not None and type(message) not in self._allowed:
            raise TypeError(f"{message.wire_name} is not among the declared calls")
        about = {**NATS, "messaging.destination.name": subject}
        with child_span(message.wire_name, SpanKind.CLIENT, about):
            if trace := inject():
                headers[TRACE_HEADER] = trace
            return await self._request_once(subject, message, headers, timeout)

    async def _request_once(self, subject: str, message: Message, headers: dict[str, str], timeout: float) -> bytes:
        if not self._client.is_connected:
            # it would be buffered and might go out long after the caller was told that it failed
            raise RequestRejected("SERVICE_UNAVAILABLE", "the message bus is not reachable")
        try:
            reply = await self._client.request(
                subject, message.model_dump_json().encode(), timeout=timeout, headers=headers
            )
        except NoRespondersError:
            raise RequestRejected(
                "SERVICE_UNAVAILABLE", f"no process of the service {_service_name(subject)} is running"
            ) from None
        except MaxPayloadError:
            raise RequestRejected("REQUEST_TOO_LARGE") from None
        except NatsError:  # also when the connection was lost: it may have been done or not
            raise RequestRejected("SERVICE_TIMEOUT", f"the service {_service_name(subject)} did not answer") from None
        if reply.headers and FAILURE_HEADER in reply.headers:
            failure = Failure.model_validate_json(reply.data)
            raise RequestRejected(failure.code, failure.detail, retry_after=failure.retry_after)
        return reply.data


class MessageServer:
    """Answers requests in a queue group, each in a task of its own; stops without losing one."""

    def __init__(self, client: Client, group: str, outage_errors: tuple[type[Exception], ...] = ()) -> None:
        """`outages`: errors that mean that the service's database does not answer."""
        self._client = client
        self._group = group
        self._outage_errors: tuple[type[Exception], ...] = (StoreUnavailable, *outage_errors)
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._task_bytes = 0  # of the requests in `_working`
        self._rejected_count = 0  # requests since the process was last idle

    def _is_full(self, message: Msg) -> bool:
        if not self._tasks:  # what is large for itself alone is not refused for ever
            return False
        return (
            len(self._tasks) >= MAX_CONCURRENT_REQUESTS
            or self._task_bytes + len(message.data) > MAX_CONCURRENT_REQUEST_BYTES
        )

    async def serve(
        self, message_type: type[Command] | type[Query], handler: RequestHandler, subject: str = ""
    ) -> None:
        """`subject`: where several services answer the same question, each at an address of its own."""

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
        """Take no more, and finish what is in hand. A request that comes now reaches another replica or nobody."""
        patience = (
            timeout if self._client.is_connected else CLOSE_TIMEOUT_SECONDS
        )  # a busy server may take its time to hear it
        with suppress(TimeoutError, NatsError):  # without a connection nothing arrives any more
            async with asyncio.timeout(timeout):
                for one in self._subscriptions:
                    # draining says so too, but it would drop what comes until the server has heard it
                    await self._client._send_unsubscribe(one._id)
                await flush_to_server(self._client, patience)
                await asyncio.gather(*(one.drain() for one in self._subscriptions))  # type: ignore[no-untyped-call]
                if self._tasks:
                    await asyncio.wait(self._tasks)
                await flush_to_server(self._client, patience)

    def _on_done(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._task_bytes -= size
        if not self._tasks and self._rejected_count:
            log.warning(
                "%s: %d requests were refused because too many were under way", self._group, self._rejected_count
            )
            self._rejected_count = 0

    async def _reject(self, message: Msg) -> None:
        """At once, not after a wait: services that wait for each other's free places could wait without an end."""
        if not self._rejected_count:
            log.warning(
                "%s: more than %d requests are under way; further ones are refused",
                self._group,
                MAX_CONCURRENT_REQUESTS,
            )
        self._rejected_count += 1
        failure = RequestRejected(
            "SERVICE_UNAVAILABLE", "too many requests are under way; try again", retry_after=1
        ).failure
        await self._send(message, failure.model_dump_json().encode(), {FAILURE_HEADER: "1"})

    async def _respond(self, message: Msg, handler: RequestHandler) -> None:
        headers = message.headers or {}
        try:
            answer, reply_headers = await handler(message.data, headers), None
            if len(answer) > self._client.max_payload:
                sizes = f"{len(answer)} bytes and may have {self._client.max_payload}"
                raise RequestRejected("ANSWER_TOO_LARGE", f"The answer has {sizes}; ask for smaller pages.")
        except Exception as error:
            failure = _to_failure(error, message.subject, self._outage_errors)
            answer, reply_headers = failure.model_dump_json().encode(), {FAILURE_HEADER: "1"}
        await self._send(message, answer, reply_headers)

    async def _send(self, message: Msg, answer: bytes, headers: dict[str, str] | None) -> None:
        try:
            await self._client.publish(message.reply, answer, headers=headers)
        except NatsError as error:
            log.warning("%s: the answer cannot be sent (%s)", message.subject, type(error).__name__)


def _to_failure(error: Exception, subject: str, outage_errors: tuple[type[Exception], ...]) -> Failure:
    if isinstance(error, outage_errors):
        log.warning("%s: the database does not answer (%s)", subject, type(error).__name__)
        return RequestRejected("SERVICE_UNAVAILABLE", "the database does not answer").failure
    match error:
        case RequestRejected() if error.code in CODES:
            return error.failure
        case ValidationError():
            # without the input: it may hold a secret
            lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
            return RequestRejected("REQUEST_INVALID", "; ".join(lines)).failure
        case WrongExpectedVersion():
            return RequestRejected("CONFLICT").failure
        case KeyErased():
            return RequestRejected("NOT_FOUND", "It was deleted, and what was sealed for it is gone.").failure
        case UnknownEvent():
            log.warning("%s: a later release recorded %s", subject, error)
            return RequestRejected(
                "SERVICE_UNAVAILABLE", "this process is about to be replaced by a later release"
            ).failure
        case OutcomeUnknown():
            return RequestRejected("SERVICE_TIMEOUT", "the database went away during the commit").failure
        case _:
            log.error("%s failed", subject, exc_info=error)
            status, meaning = CODES["INTERNAL_SERVER_ERROR"]
            return Failure(code="INTERNAL_SERVER_ERROR", status=status, detail=meaning)


def _service_name(subject: str) -> str:
    return subject.split(".")[1]


def _encode_actor(actor: Actor) -> str:
    return json.dumps([actor.id, actor.name, list(actor.roles)])


def parse_actor(headers: Headers) -> Actor:
    if ACTOR_HEADER not in headers:
        return SYSTEM
    id_, name, roles = json.loads(headers[ACTOR_HEADER])
    return Actor(id_, name, tuple(roles))
