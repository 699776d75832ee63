"""The HTTP server: uvicorn with a graceful shutdown for load balancers."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from gateway.app import Gateway
from gateway.http.certificate import ServerCertificate
from gateway.http.limited_protocol import Connection
from libs.settings import Settings, SettingsError
from libs.sockets import bind_reuse_port
from libs.tasks import cancel_and_wait

CONNECTION_CLOSE = (b"connection", b"close")  # sent while draining: the client reconnects to another replica
KEEP_ALIVE_SECONDS = 75  # maximum idle time of a connection; longer than clients pause between polls
SHUTDOWN_TIMEOUT_SECONDS = 5  # maximum time for responses in progress to finish
DISCONNECT_SECONDS = 0.2  # maximum time for handlers to end after their connection was aborted
LISTEN_BACKLOG = 2048
HSTS_SECONDS = 365 * 24 * 3600  # how long browsers use only HTTPS for this host
CERTIFICATE_CHECK_TICKS = 100  # ticks of uvicorn, ten a second, between checks for a renewed certificate


def security_headers(settings: Settings) -> list[tuple[str, str]]:
    """Return headers for every response. Pages add a Content-Security-Policy of their own."""
    headers = [
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "SAMEORIGIN"),
        ("Referrer-Policy", "same-origin"),
    ]
    if settings.url.startswith("https://"):
        headers.append(("Strict-Transport-Security", f"max-age={HSTS_SECONDS}"))
    return headers


@contextmanager
def listen_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Open the port with SO_REUSEPORT: the kernel distributes connections among the replicas on this machine.

    Raises SettingsError if the port cannot be opened.
    """
    with ExitStack() as stack:
        try:
            sock = stack.enter_context(bind_reuse_port(host, port))
        except OSError as error:
            raise SettingsError(f"The gateway cannot listen on {host}:{port}: {error.strerror}.") from error
        yield sock


class Server(uvicorn.Server):
    """An HTTP server that drains before it stops and reloads its TLS certificate."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(
            uvicorn.Config(
                gateway.app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=LISTEN_BACKLOG,
                headers=security_headers(gateway.state.settings),
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=2 * SHUTDOWN_TIMEOUT_SECONDS,  # for handlers that outlive their connection
            )
        )
        self._gateway = gateway
        self._certificate = ServerCertificate.from_settings(gateway.state.settings)
        self.config.load()
        self.config.ssl = self._certificate.context if self._certificate else None

    def begin_shutdown(self) -> None:
        """Begin a graceful shutdown. A second call stops at once.

        For `leave_seconds` the readiness probe fails and requests are still served, so that load balancers take this
        replica out; responses ask clients to reconnect.
        """
        delay = 0.0
        if not self._gateway.draining.is_set():
            delay = self._gateway.state.settings.leave_seconds
            self._gateway.draining.set()
            self._disable_keep_alive()
        asyncio.get_running_loop().call_later(delay, self._stop)

    def _disable_keep_alive(self) -> None:
        """Send `Connection: close` with every response from now on, including those to held requests."""
        self.config.encoded_headers.append(CONNECTION_CLOSE)
        # the default headers change here too, because uvicorn updates them only once a second
        self.server_state.default_headers = [*self.server_state.default_headers, CONNECTION_CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, Connection) and connection.cycle:
                connection.cycle.default_headers = self.server_state.default_headers

    def _stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers: uvicorn's handlers re-raise the signals, which end the process too early."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Check for a renewed certificate every 10 seconds; uvicorn calls this ten times a second."""
        if self._certificate and counter % CERTIFICATE_CHECK_TICKS == 0:
            self._certificate.reload_if_changed()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.close()
        aborter = asyncio.create_task(self._abort_connections())
        try:
            await super().shutdown(sockets)
        finally:
            await cancel_and_wait({aborter})

    async def _abort_connections(self) -> None:
        """Abort the connections and handlers that are still open after the shutdown timeout."""
        await asyncio.sleep(SHUTDOWN_TIMEOUT_SECONDS)
        for connection in self.server_state.connections:
            connection.transport.abort()
        await asyncio.sleep(DISCONNECT_SECONDS)
        for task in self.server_state.tasks:
            task.cancel()
