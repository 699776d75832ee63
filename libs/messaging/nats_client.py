"""A NATS client that detects hanging servers and reconnects to other servers.

With its default options nats-py needs six minutes to detect a server that does not respond, and may wait forever for a
blocked socket. See https://docs.nats.io/using-nats/developer/connecting/pingpong.
"""

import asyncio
import logging
import re
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from random import choice, random, uniform
from urllib.parse import ParseResult

import nats.aio.client
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.transport import Transport
from nats.errors import ConnectionClosedError, MaxPayloadError, SecureConnWantedError

log = logging.getLogger("headrace.messaging")

# The connection is closed when MAX_OUTSTANDING_PINGS pings are unanswered and the next one is due: after 5 to 7.5
# seconds.
PING_INTERVAL_SECONDS = 2.5
MAX_OUTSTANDING_PINGS = 2
FLUSH_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.5
RECONNECT_DELAY_SECONDS = 0.1
# After a reconnect the client waits one to two times this delay, and then rebalances at a moment without traffic.
REBALANCE_DELAY_SECONDS = 120.0
MAX_REBALANCE_WAITS = 5
QUIET_SECONDS = 0.2
MAX_QUIET_CHECKS = 50
ANSWER_TIMEOUT_SECONDS = 1.0
MAX_REFUSED_SUBJECTS = 100
REFUSED_SUBJECT = re.compile(r'permissions violation for publish to "([^"]+)"')
HEADER_FRAME_BYTES = len(b"NATS/1.0\r\n\r\n")


class NatsTransport(Transport):
    """A TCP connection, with TLS if the server requires it, whose close has a timeout.

    The default transport waits until the server has received everything, which never ends with a hanging server. With
    a `tls://` URL nothing is sent before the connection is encrypted, so a server without TLS never sees the login.
    """

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._must_encrypt = False
        # kept, because asyncio closes the connection when the streams below TLS are garbage-collected
        self._plain_streams: object = None

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        if self._writer is not None:
            self._writer.transport.abort()  # nats-py does not close the socket of a failed attempt
        self._must_encrypt = uri.scheme == "tls"
        async with asyncio.timeout(connect_timeout):
            self._reader, self._writer = await asyncio.open_connection(uri.hostname, uri.port, limit=buffer_size)
        self._plain_streams = self._reader, self._writer

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=buffer_size)
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(connect_timeout):
            transport = await loop.start_tls(
                self._open_writer.transport,
                protocol,
                ssl_context,
                server_hostname=uri if isinstance(uri, str) else uri.hostname,
            )
        assert transport is not None  # noqa: S101  as long as the loop runs
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        self._must_encrypt = False

    def write(self, payload: bytes) -> None:
        if self._must_encrypt:
            raise SecureConnWantedError
        self._open_writer.write(payload)

    def writelines(self, payload: list[bytes]) -> None:
        self.write(b"".join(payload))

    async def read(self, buffer_size: int) -> bytes:
        return await self._open_reader.read(buffer_size)

    async def readline(self) -> bytes:
        try:
            return await self._open_reader.readline()
        except ValueError as error:  # a line longer than the buffer; nats-py would stop reconnecting
            raise ConnectionError(str(error)) from None

    async def drain(self) -> None:
        await self._open_writer.drain()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def wait_closed(self) -> None:
        if self._writer is None:
            return
        closing = asyncio.ensure_future(self._writer.wait_closed())
        # retrieves the error in case nothing awaits the task
        closing.add_done_callback(lambda closed: closed.cancelled() or closed.exception())
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_SECONDS)
        finally:  # also abort when the caller's own timeout cancels the wait
            self._writer.transport.abort()  # no effect if the transport is closed already
        await closing

    def at_eof(self) -> bool:
        return self._reader is None or self._reader.at_eof()

    def __bool__(self) -> bool:
        return self._writer is not None

    @property
    def _open_reader(self) -> asyncio.StreamReader:
        assert self._reader is not None  # noqa: S101  nats-py connects first
        return self._reader

    @property
    def _open_writer(self) -> asyncio.StreamWriter:
        assert self._writer is not None  # noqa: S101
        return self._writer


# `connect` has no parameter for the transport, so this class replaces the default one.
nats.aio.client.TcpTransport = NatsTransport  # type: ignore[attr-defined,assignment]


class NatsClient(Client):
    """A client whose requests fail when their connection is lost, and which rejects messages above the size limit."""

    def __init__(self) -> None:
        super().__init__()
        self._open_requests: set[asyncio.Timeout] = set()
        self._forbidden: set[str] = set()
        self._rebalance_task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        self._cancel_rebalance()
        await super().close()

    def schedule_rebalance(self, servers: "ServerSelector") -> None:
        """Schedule a move to another server.

        After an outage of all servers but one, all clients are connected to the remaining server.
        """
        self._cancel_rebalance()
        self._rebalance_task = asyncio.create_task(self._rebalance(servers))

    def _cancel_rebalance(self) -> None:
        if self._rebalance_task is not None:
            self._rebalance_task.cancel()

    async def _rebalance(self, servers: "ServerSelector") -> None:
        """Once all servers respond, move to a random one (possibly the current), which distributes clients evenly.

        After MAX_REBALANCE_WAITS rounds, choose among the servers that respond, because the others may have been
        removed.
        """
        for waits in count(1):
            await asyncio.sleep(uniform(1, 2) * REBALANCE_DELAY_SECONDS)  # noqa: S311
            answering = [server for server in self.servers if await _is_responsive(server)]
            current = self.connected_url
            if not answering or current is None or (len(answering) < len(self.servers) and waits < MAX_REBALANCE_WAITS):
                continue
            target = choice(answering)  # noqa: S311
            if target.netloc == current.netloc:
                return
            if self.is_connected and await self._is_quiet():
                log.info("NATS: moving from %s to %s", current.netloc, target.netloc)
                servers.prefer(target.netloc)
                await self.force_reconnect()
                return

    async def _is_quiet(self) -> bool:
        """Wait for a moment without traffic and return whether there was one. A reconnect loses messages in transit."""
        for _ in range(MAX_QUIET_CHECKS):
            before = self.stats["in_msgs"], self.stats["out_msgs"]
            await asyncio.sleep(QUIET_SECONDS)
            if not self._open_requests and before == (self.stats["in_msgs"], self.stats["out_msgs"]):
                return True
        return False

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """Send a request. Raises nats-py's errors; ConnectionClosedError if the connection is lost before the reply."""
        try:
            async with asyncio.timeout(None) as scope:
                self._open_requests.add(scope)
                return await super().request(subject, payload, timeout, old_style, headers)
        except TimeoutError:
            if scope.expired():
                raise ConnectionClosedError from None
            raise
        finally:
            self._open_requests.discard(scope)

    def fail_open_requests(self) -> None:
        """Fail all open requests, because their replies are lost with the connection."""
        now = asyncio.get_running_loop().time()
        for scope in self._open_requests:
            if not scope.expired():
                scope.reschedule(now)

    def may_publish(self, subject: str) -> bool:
        """Return False if the server has rejected this subject on the current connection."""
        return subject.lower() not in self._forbidden

    def record_permission_error(self, error: Exception) -> None:
        """Remember the subject of a permission error, which nats-py reports in lower case."""
        match = REFUSED_SUBJECT.search(str(error))
        if match and len(self._forbidden) < MAX_REFUSED_SUBJECTS:
            self._forbidden.add(match[1])

    def clear_permission_errors(self) -> None:
        """Forget rejected subjects, because the next server may have other permissions."""
        self._forbidden.clear()

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Publish a message. Raises MaxPayloadError if body and headers are too large; nats-py checks only the body."""
        if len(payload) + _header_size(headers or {}) > self.max_payload:
            raise MaxPayloadError
        await super().publish(subject, payload, reply, headers)


class ServerSelector:
    """Selects the next server to connect to: the server with the fewest attempts.

    Among equals, the preferred server comes first, then configured servers in random order, then discovered ones, which
    this process may not be able to reach. The server of the lost connection counts as tried once.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._attempts: Counter[str] = Counter()
        self._preferred = ""

    def record_connected(self) -> bool:
        """Record the connected server. Return whether it is the preferred one."""
        current = self._client.connected_url
        self._attempts = Counter([current.netloc] if current else ())
        is_preferred = current is not None and current.netloc == self._preferred
        self._preferred = ""
        return is_preferred

    def prefer(self, netloc: str) -> None:
        """Try this server first at the next connect."""
        self._preferred = netloc

    def __call__(self, servers: Sequence[Server], _info: Mapping[str, object]) -> tuple[Server, float]:
        discovered = {url.netloc for url in self._client.discovered_servers}
        order = [
            (
                self._attempts[server.uri.netloc],
                server.uri.netloc != self._preferred,
                server.uri.netloc in discovered,
                random(),  # noqa: S311
                server,
            )
            for server in servers
        ]
        attempts, *_, chosen = min(order, key=lambda entry: entry[:4])
        self._attempts[chosen.uri.netloc] += 1
        return chosen, RECONNECT_DELAY_SECONDS if attempts else 0.0


async def _is_responsive(server: ParseResult) -> bool:
    """Return whether the server sends its INFO message, which a hanging server does not."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(server.hostname, server.port)
            try:
                return (await reader.read(4)).startswith(b"INFO")
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return False


def _header_size(headers: Mapping[str, str]) -> int:
    return HEADER_FRAME_BYTES + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items())
