"""The health server of a process: liveness, readiness and metrics over HTTP.

It needs no web framework, which would cost each process 7 MB for three routes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from libs.observability.logs import redact
from libs.version import VERSION

Check = Callable[[], Awaitable[str | None]]  # returns None if healthy, else a description of the problem
Response = tuple[HTTPStatus, str, bytes]
CHECK_TIMEOUT_SECONDS = 2.0
REQUEST_TIMEOUT_SECONDS = 5.0
IGNORED_ERRORS = (
    TimeoutError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    ConnectionError,
    asyncio.CancelledError,
)
JSON_TYPE = "application/json"


class Health:
    def __init__(self, *, check_timeout_seconds: float = CHECK_TIMEOUT_SECONDS) -> None:
        self._checks: dict[str, Check] = {}
        self._check_timeout_seconds = check_timeout_seconds

    def register(self, name: str, check: Check) -> None:
        self._checks[name] = check

    async def find_problems(self, timeout_seconds: float | None = None) -> dict[str, str]:
        """Run all checks. Return the problems by check name; empty if the process is ready."""
        timeout = self._check_timeout_seconds if timeout_seconds is None else timeout_seconds
        checks = dict(self._checks)  # copied, because checks may be registered during the run
        answers = await asyncio.gather(*(_run_check(check, timeout) for check in checks.values()))
        return {name: reason for name, reason in zip(checks, answers, strict=True) if reason is not None}


async def _run_check(check: Check, timeout_seconds: float) -> str | None:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await check()
    except TimeoutError:
        return f"no response within {timeout_seconds:g} s"
    except Exception as error:  # any error is a problem to report
        return redact(f"{type(error).__name__}: {error}")


@asynccontextmanager
async def serve_health(health: Health, registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[int]:
    """Serve `/healthz`, `/readyz` and `/metrics`. Yields the port, which is a free one if `port` is 0."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # no response to a silent or closed client, to an overlong request, or during shutdown
        with suppress(*IGNORED_ERRORS):
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_encode_response(head, await _respond(head, health, registry)))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(on_connection, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _respond(head: bytes, health: Health, registry: CollectorRegistry) -> Response:
    match head.split(b"\r\n", 1)[0].split():
        case [b"GET" | b"HEAD", target, _]:
            path = target.split(b"?", 1)[0]
        case [_, _, _]:
            return HTTPStatus.METHOD_NOT_ALLOWED, JSON_TYPE, b"{}"
        case _:
            return HTTPStatus.BAD_REQUEST, JSON_TYPE, b"{}"
    match path:
        case b"/healthz":
            return HTTPStatus.OK, JSON_TYPE, json.dumps({"alive": True, "version": VERSION}).encode()
        case b"/readyz":
            reasons = await health.find_problems()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return status, JSON_TYPE, json.dumps({"ready": not reasons, "reasons": reasons}).encode()
        case b"/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)
        case _:
            return HTTPStatus.NOT_FOUND, JSON_TYPE, b"{}"


def _encode_response(request: bytes, answer: Response) -> bytes:
    status, content_type, body = answer
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()
    return head if request.startswith(b"HEAD ") else head + body
