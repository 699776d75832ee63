"""Connections to NATS with the reconnect, timeout and TLS settings that every process uses."""

import asyncio
import logging
from contextlib import suppress
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import AuthorizationError, ConnectionClosedError, NoRespondersError, SecureConnWantedError
from nats.errors import Error as NatsError

from libs.messaging.nats_address import InvalidNatsAddress, NatsAddress
from libs.messaging.nats_client import (
    FLUSH_TIMEOUT_SECONDS,
    MAX_OUTSTANDING_PINGS,
    PING_INTERVAL_SECONDS,
    RECONNECT_DELAY_SECONDS,
    NatsClient,
    ServerSelector,
)
from libs.security.tls import create_client_context, explain_untrusted
from libs.settings import Settings, SettingsError
from libs.tasks import cancel_and_wait

log = logging.getLogger("headrace.messaging")

CLOSE_TIMEOUT_SECONDS = 1.0  # limit for closing a connection, and for flushing to the server
ROUND_TRIP_TIMEOUT_SECONDS = 2.0


async def connect(settings: Settings, name: str, *, timeout: float | None = None) -> NatsClient:
    """Connect to NATS and reconnect without limit.

    A hanging server is detected after a few seconds, like a dead one. The client then uses any other server of the
    cluster, from HEADRACE_NATS_URL or discovered. Raises SettingsError for an error that only other settings can fix,
    and TimeoutError after `timeout` seconds (None: no limit).
    """
    address = parse_nats_address(settings)
    fatal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    logged: set[str] = set()  # errors logged since the last connection

    async def on_error(error: Exception) -> None:
        client.record_permission_error(error)
        reason = _explain_connection_error(error)
        if reason and not fatal.done():
            fatal.set_result(reason)
        if reason and (reason not in logged or _is_permission_error(error)):
            log.error("%s", reason)
        elif not reason and (not isinstance(error, OSError) or type(error).__name__ not in logged):
            log.warning("NATS: %s", type(error).__name__)
        logged.add(reason or type(error).__name__)

    async def on_loss() -> None:
        logged.clear()
        client.clear_permission_errors()
        client.fail_open_requests()

    async def on_reconnect() -> None:
        if not selector.record_connected() and len(client.servers) > 1:
            client.schedule_rebalance(selector)
        log.info("NATS: connected to %s", client.connected_url.netloc if client.connected_url else "")

    client = NatsClient()
    selector = ServerSelector(client)
    has_certificates = settings.ca_file or settings.client_certificate
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
            reconnect_to_server_handler=selector,
            ping_interval=PING_INTERVAL_SECONDS,  # type: ignore[arg-type]
            max_outstanding_pings=MAX_OUTSTANDING_PINGS,
            flush_timeout=FLUSH_TIMEOUT_SECONDS,
            flusher_queue_size=0,  # unbounded: a full queue would delay pings
            connect_timeout=2,
            error_cb=on_error,
            disconnected_cb=on_loss,
            reconnected_cb=on_reconnect,
            allow_reconnect=True,
            tls=create_client_context(settings.ca_file, settings.client_certificate) if has_certificates else None,
        )
    )
    try:
        either: set[asyncio.Task[None] | asyncio.Future[str]] = {connecting, fatal}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=timeout)
        if not connecting.done():
            raise SettingsError(fatal.result()) if fatal.done() else TimeoutError
        connecting.result()
    except BaseException:  # including a cancellation: there may be a connection already
        await cancel_and_wait({connecting})
        await disconnect(client)
        raise
    selector.record_connected()
    return client


def parse_nats_address(settings: Settings) -> NatsAddress:
    """Parse HEADRACE_NATS_URL. Raises SettingsError."""
    try:
        return NatsAddress.parse(settings.nats_url)
    except InvalidNatsAddress as error:
        raise SettingsError(f"HEADRACE_NATS_URL {error}.") from None


def _explain_connection_error(error: Exception) -> str | None:
    """Return a sentence that tells the operator what to change, or None for a temporary error."""
    if _is_permission_error(error):
        return f"NATS: {error}"  # a missing permission is a defect, which nothing else reports
    if isinstance(error, SecureConnWantedError):
        return "The NATS server does not use TLS, but its URL in HEADRACE_NATS_URL starts with tls://."
    if isinstance(error, AuthorizationError) or "authorization violation" in str(error).lower():
        return "NATS rejects the login in HEADRACE_NATS_URL."
    return explain_untrusted("NATS", error)


def _is_permission_error(error: Exception) -> bool:
    return "permissions violation" in str(error).lower()


async def flush_to_server(client: Client, timeout: float = CLOSE_TIMEOUT_SECONDS) -> None:
    """Wait until the server has received all earlier messages, for at most `timeout` seconds. Errors are ignored.

    nats-py's `flush` does not suffice: its ping can overtake messages that the client has buffered.
    """
    with suppress(NatsError):  # the server replies that there are no responders, after it has read the earlier messages
        await client.request(f"settled.{uuid4().hex}", timeout=timeout)


async def check_round_trip(client: Client, subject: str) -> None:
    """Send a request to a subject without subscribers, to which the server replies at once.

    Raises NatsError if there is no reply. The login must be allowed to publish to `subject`.
    """
    if not client.is_connected:
        raise ConnectionClosedError
    with suppress(NoRespondersError):
        await client.request(subject, timeout=ROUND_TRIP_TIMEOUT_SECONDS)


async def disconnect(client: Client) -> None:
    """Close the connection within CLOSE_TIMEOUT_SECONDS, even if the server hangs. Errors are only logged."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()
    except (NatsError, OSError, RuntimeError, TimeoutError) as error:  # uvloop raises RuntimeError on a lost connection
        log.info("NATS connection closed without a clean drain: %s", type(error).__name__)
