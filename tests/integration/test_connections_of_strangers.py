"""What a stranger sends has a size and a pace, or the connection ends: on a real port, behind which nothing happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import connection
from gateway.bodies import read_body
from gateway.connection import Connection

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = HEAD + b"Content-Length: 2\r\n\r\nok"


async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(app: ASGIApp = echo) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)


async def answered(*pieces: bytes) -> bytes:
    """All that comes until the connection is closed. What the server does not take any more is no matter."""
    async with asyncio.timeout(20), connected() as (reader, writer):
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "beginning", [b"GET /", HEAD + b"X-Long: ", b"\r\n", HEAD], ids=["address", "header", "before", "many"]
)
async def test_a_head_without_end_is_cut_off(beginning: bytes) -> None:
    rest = (b"X: y\r\n" if beginning == HEAD else b"\r\n" if beginning == b"\r\n" else b"aaaa") * 20_000
    assert (await answered(beginning, *[rest] * 100))[:12] in (b"HTTP/1.1 431", b"")


@pytest.mark.parametrize("end", [b"0\r\nX-Trailer: ", b"1;x="], ids=["trailer", "extension"])
async def test_what_is_no_body_cannot_go_on_for_ever_behind_the_head(end: bytes) -> None:
    assert await answered(CHUNKED, b"1\r\na\r\n" + end, *[b"a" * 100_000] * 100) == b""


async def test_who_says_nothing_is_sent_away() -> None:
    assert (await answered()).startswith(b"HTTP/1.1 408 ")


async def test_who_never_comes_to_the_end_of_the_head_is_sent_away() -> None:
    assert (await answered(HEAD)).startswith(b"HTTP/1.1 408 ")


async def test_who_never_comes_to_the_end_of_the_body_is_sent_away() -> None:
    assert await answered(HEAD + b"Content-Length: 1000\r\n\r\n", b"a") == b""


async def test_who_has_been_answered_may_think_before_asking_again() -> None:
    async with asyncio.timeout(20), connected() as (reader, writer):
        writer.write(GOOD)
        first = await reader.readuntil(b"ok")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):  # longer than anybody may take for a head
                await reader.read(1)
        writer.write(GOOD)
        assert (await reader.readuntil(b"ok")).partition(b"\r\n")[0] == first.partition(b"\r\n")[0]


async def test_a_body_that_keeps_its_pace_is_looked_at_and_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.01)
    monkeypatch.setattr(connection, "BODY_PACE", 0)
    async with asyncio.timeout(20), connected() as (reader, writer):
        writer.write(HEAD + b"Content-Length: 500000\r\n\r\n" + b"a" * 400_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.write(b"a" * 100_000)
        assert b"200 OK" in await reader.readuntil(b"\r\n")


async def test_who_takes_nothing_of_an_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
    over = asyncio.Event()

    async def tell_much(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1024 * 1024), "more_body": True})
        over.set()

    async with asyncio.timeout(20), connected(tell_much) as (_, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GOOD)
        await over.wait()
