"""Limits on the size and the pace of requests, tested on a real port with a minimal application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http import limited_protocol
from gateway.http.json_request import read_body
from gateway.http.limited_protocol import Connection

REQUEST_HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED_HEAD = REQUEST_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
COMPLETE_REQUEST = REQUEST_HEAD + b"Content-Length: 2\r\n\r\nok"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(Request(scope, receive))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def open_connection(app: ASGIApp = echo) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, port=0, http=Connection, lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await server.shutdown()


@pytest.fixture
def short_head_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_protocol, "HEAD_SECONDS", 0.3)


@pytest.fixture
def short_body_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_protocol, "BODY_SECONDS", 0.3)


async def send_and_read_all(*chunks: bytes) -> bytes:
    async with asyncio.timeout(60), open_connection() as (reader, writer):
        try:
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "beginning",
    [b"GET /", REQUEST_HEAD + b"X-Long: ", b"\r\n", REQUEST_HEAD],
    ids=["address", "header", "before", "many"],
)
async def test_a_request_head_above_the_limit_is_rejected(beginning: bytes) -> None:
    rest = (b"X: y\r\n" if beginning == REQUEST_HEAD else b"\r\n" if beginning == b"\r\n" else b"aaaa") * 20_000
    assert (await send_and_read_all(beginning, *[rest] * 100))[:12] in (b"HTTP/1.1 431", b"")


@pytest.mark.parametrize("end", [b"0\r\nX-Trailer: ", b"1;x="], ids=["trailer", "extension"])
async def test_endless_chunk_extensions_or_trailers_close_the_connection(end: bytes) -> None:
    assert await send_and_read_all(CHUNKED_HEAD, b"1\r\na\r\n" + end, *[b"a" * 100_000] * 100) == b""


@pytest.mark.usefixtures("short_head_timeout")
async def test_a_silent_connection_is_closed_with_408() -> None:
    assert (await send_and_read_all()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short_head_timeout")
async def test_a_connection_that_never_ends_its_request_head_is_closed_with_408() -> None:
    assert (await send_and_read_all(REQUEST_HEAD)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.usefixtures("short_body_timeout")
async def test_a_connection_that_never_ends_its_request_body_is_closed() -> None:
    assert await send_and_read_all(REQUEST_HEAD + b"Content-Length: 1000\r\n\r\n", b"a") == b""


async def test_an_idle_keep_alive_connection_is_not_subject_to_the_head_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def shorten_timeout_and_echo(scope: Scope, receive: Receive, send: Send) -> None:
        # only now: the first request may arrive late on a busy machine
        monkeypatch.setattr(limited_protocol, "HEAD_SECONDS", 0.3)
        await echo(scope, receive, send)

    async with asyncio.timeout(60), open_connection(shorten_timeout_and_echo) as (reader, writer):
        writer.write(COMPLETE_REQUEST)
        first = await reader.readuntil(b"ok")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):  # longer than the server waits for a request head
                await reader.read(1)
        writer.write(COMPLETE_REQUEST)
        assert (await reader.readuntil(b"ok")).partition(b"\r\n")[0] == first.partition(b"\r\n")[0]


async def test_a_request_body_at_the_minimum_rate_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_protocol, "BODY_SECONDS", 0.01)
    monkeypatch.setattr(limited_protocol, "BODY_PACE", 0)
    async with asyncio.timeout(60), open_connection() as (reader, writer):
        writer.write(REQUEST_HEAD + b"Content-Length: 500000\r\n\r\n" + b"a" * 400_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.write(b"a" * 100_000)
        assert b"200 OK" in await reader.readuntil(b"\r\n")


async def test_a_client_that_does_not_read_the_response_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_protocol, "ANSWER_SECONDS", 0.1)
    over = asyncio.Event()

    async def send_much(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1024 * 1024), "more_body": True})
        over.set()

    async with asyncio.timeout(60), open_connection(send_much) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(COMPLETE_REQUEST)
        await over.wait()
