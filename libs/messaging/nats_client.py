"""nats-py's client, made to notice a server that hangs and to leave it: what its options alone do not do.

With its own defaults it takes six minutes to notice a server that answers nothing, and may wait without an end for a
socket that takes nothing. https://docs.nats.io/using-nats/developer/connecting/pingpong
"""

import asyncio
import logging
import re
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from random import choice, random, uniform
from typing import Any
from urllib.parse import ParseResult

import nats.aio.client
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.transport import Transport
from nats.errors import ConnectionClosedError, MaxPayloadError, SecureConnWantedError

log = logging.getLogger("headrace.messaging")

# A server is given up when it owes this many answers and the next one is due: after 5 to 7.5 seconds.
PING_INTERVAL_SECONDS = 2.5
MAX_OUTSTANDING_PINGS = 2
FLUSH_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.5
RECONNECT_DELAY_SECONDS = 0.1
# A client that lost its server moves between one and two of these delays later, at a moment without traffic.
REBALANCE_DELAY_SECONDS = 120.0
MAX_REBALANCE_WAITS = 5
QUIET_SECONDS = 0.2
MAX_QUIET_CHECKS = 50
ANSWER_TIMEOUT_SECONDS = 1.0
MAX_REFUSED_SUBJECTS = 100
REFUSED_SUBJECT = re.compile(r'permissions violation for publish to "([^"]+)"')
HEADER_FRAME_BYTES = len(b"NATS/1.0\r\n\r\n")


class NatsTransport(Transport):
    """A TCP connection, with TLS once the server asks for it. Closing it takes a moment whatever the server does.

    nats-py's own transport waits until the server has taken everything, which one that hangs never does. For a
    `tls://` address nothing is sent before the connection is encrypted, so that a server without TLS, on whichever
    connect, sees no login.
    """

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._must_encrypt = False
        self._plain_streams: object = None  # under TLS; asyncio closes a connection whose reader or writer is collected

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        if self._writer is not None:
            self._writer.transport.abort()  # nats-py leaves the socket of a failed attempt to the garbage collector
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
        except ValueError as error:  # longer than the buffer; nats-py would give up reconnecting
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
        closing.add_done_callback(lambda closed: closed.cancelled() or closed.exception())  # if nothing awaits it
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_SECONDS)
        self._writer.transport.abort()  # has no effect on what is closed
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


# `connect` takes no transport, so the client finds this one under the name of its own.
nats.aio.client.TcpTransport = NatsTransport  # type: ignore[attr-defined,assignment]


class NatsClient(Client):
    """Requests end with the connection they were sent on; no message is so large that the server hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self._open_requests: set[asyncio.Timeout] = set()
        self._forbidden: set[str] = set()
        self._rebalance_task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        self._cancel_rebalance()
        await super().close()

    def schedule_rebalance(self, servers: "ServerSelector") -> None:
        """Spread again. After an outage of all servers but one, every client would stay on that one."""
        self._cancel_rebalance()
        self._rebalance_task = asyncio.create_task(self._rebalance(servers))

    def _cancel_rebalance(self) -> None:
        if self._rebalance_task is not None:
            self._rebalance_task.cancel()

    async def _rebalance(self, servers: "ServerSelector") -> None:
        """Once all servers answer, pick any, the present one included, so that clients end up evenly.

        A server may be gone for good: after some rounds the others are enough.
        """
        for waits in count(1):
            await asyncio.sleep(uniform(1, 2) * REBALANCE_DELAY_SECONDS)  # noqa: S311
            answering = [server for server in self.servers if await _is_responsive(server)]
            here = self.connected_url
            if not answering or here is None or (len(answering) < len(self.servers) and waits < MAX_REBALANCE_WAITS):
                continue
            target = choice(answering)  # noqa: S311
            if target.netloc == here.netloc:
                return
            if self.is_connected and await self._is_quiet():
                log.info("NATS: moving from %s to %s", here.netloc, target.netloc)
                servers.prefer(target.netloc)
                await self.force_reconnect()
                return

    async def _is_quiet(self) -> bool:
        """Wait for a moment without traffic; what arrived just before a move would be lost."""
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
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As in the base class. Raises ConnectionClosedError when the connection is lost before the answer."""
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
        """End them at once, for their answers are lost with the connection."""
        now = asyncio.get_running_loop().time()
        for scope in self._open_requests:
            if not scope.expired():
                scope.reschedule(now)

    def may_publish(self, subject: str) -> bool:
        """Return False once the server has refused this subject on the present connection."""
        return subject.lower() not in self._forbidden

    def record_permission_error(self, error: Exception) -> None:
        """Note the subject if the error says that the server refused one; nats-py has it in lower case."""
        refused = REFUSED_SUBJECT.search(str(error))
        if refused and len(self._forbidden) < MAX_REFUSED_SUBJECTS:
            self._forbidden.add(refused[1])

    def clear_permission_errors(self) -> None:
        """The next server may have other ones."""
        self._forbidden.clear()

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """As in the base class, which forgets the headers: the server closes a connection that sends too much."""
        if len(payload) + _header_size(headers or {}) > self.max_payload:
            raise MaxPayloadError
        await super().publish(subject, payload, reply, headers)


class ServerSelector:
    """Which server is tried next after a loss: each in turn, at random, the one that was just lost last.

    Configured servers go before discovered ones, whose addresses may not be reachable from here.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._attempts: Counter[str] = Counter()
        self._preferred = ""

    def record_connected(self) -> bool:
        """Note the present server. Returns whether it is the preferred one."""
        here = self._client.connected_url
        self._attempts = Counter([here.netloc] if here else ())
        is_preferred = here is not None and here.netloc == self._preferred
        self._preferred = ""
        return is_preferred

    def prefer(self, netloc: str) -> None:
        """Try this server first, the next time."""
        self._preferred = netloc

    def __call__(self, servers: Sequence[Server], _info: Mapping[str, Any]) -> tuple[Server, float]:
        discovered = {url.netloc for url in self._client.discovered_servers}
        order = [
            (
                self._attempts[one.uri.netloc],
                one.uri.netloc != self._preferred,
                one.uri.netloc in discovered,
                random(),  # noqa: S311
                one,
            )
            for one in servers
        ]
        attempts, *_, chosen = min(order, key=lambda entry: entry[:4])
        self._attempts[chosen.uri.netloc] += 1
        return chosen, RECONNECT_DELAY_SECONDS if attempts else 0.0


async def _is_responsive(server: ParseResult) -> bool:
    """Return whether the server introduces itself, which one that hangs does not."""
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
