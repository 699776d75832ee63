"""A small server that plays the GitLab runner protocol, and can be told to misbehave."""

import asyncio
import base64
import contextlib
import socket
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

DEADLINE = 20.0


def _listening(port: int = 0) -> socket.socket:
    """Says that it is TCP: asyncio sends small answers without delay only then."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


def command_lines() -> dict[int, str]:
    """Of all processes, as anybody may read them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace")
    return found


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals belong to the test run


class Coordinator:
    def __init__(self) -> None:
        self.waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.logs: dict[int, bytearray] = defaultdict(bytearray)
        self.states: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.pieces: list[str] = []  # the Content-Range of each part of a log
        self.runners: dict[str, dict[str, Any]] = {}
        self.asked = 0  # for a job
        self.job_status = "running"
        self.lose_from: int | None = None  # forget the log from here on, once
        self.answers: list[int] = []  # instead of 200 to the next final states
        self.artifacts: dict[int, bytes] = {}  # of each job
        self.uploads: list[dict[str, Any]] = []  # token, name and parameters of each that was taken
        self.file_answers: list[int] = []  # instead of what the next calls about artifacts would get
        self.served = Path("/nonexistent")  # a repository prepared for plain HTTP
        self.login = ("", "")
        self.command_lines: list[str] = []  # of all processes, while the repository is read
        self.changed = asyncio.Condition()
        self._socket = _listening()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        app = Starlette(
            routes=[
                Route("/api/v4/runners", self._register, methods=["POST"]),
                Route("/api/v4/runners", self._unregister, methods=["DELETE"]),
                Route("/api/v4/runners/verify", self._verify, methods=["POST"]),
                Route("/api/v4/jobs/request", self._request, methods=["POST"]),
                Route("/api/v4/jobs/{id:int}/trace", self._trace, methods=["PATCH"]),
                Route("/api/v4/jobs/{id:int}", self._state, methods=["PUT"]),
                Route("/api/v4/jobs/{id:int}/artifacts", self._take, methods=["POST"]),
                Route("/api/v4/jobs/{id:int}/artifacts", self._give, methods=["GET"]),
                Route("/served/{path:path}", self._serve),
            ]
        )
        config = uvicorn.Config(app, lifespan="off", ws="none", log_level="critical", timeout_graceful_shutdown=0)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self

    async def stop(self) -> None:
        assert self._server
        assert self._serving
        self._server.should_exit = True
        await self._serving

    async def restart(self, meanwhile: Callable[[], None]) -> None:
        """Go away, let something happen, come back at the same address."""
        port = self._socket.getsockname()[1]
        await self.stop()
        meanwhile()
        await asyncio.sleep(1)  # an outage takes time: nothing to wait for
        self._socket = _listening(port)
        await self.start()

    async def outage(self, attempts: int) -> None:
        """Go away until so many calls have come to nothing, then come back at the same address."""
        port = self._socket.getsockname()[1]
        await self.stop()
        failed = asyncio.Semaphore(0)

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            failed.release()

        async with asyncio.timeout(DEADLINE), await asyncio.start_server(hang_up, sock=_listening(port)):
            for _ in range(attempts):
                await failed.acquire()
        self._socket = _listening(port)
        await self.start()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE), self.changed:
            await self.changed.wait_for(condition)

    async def final(self, job: int) -> dict[str, Any]:
        await self.until(lambda: self.states[job] and self.states[job][-1]["state"] != "running")
        return self.states[job][-1]

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _register(self, request: Request) -> Response:
        body = await request.json()
        if body["token"] != "registration":
            return JSONResponse({"message": "403 Forbidden"}, 403)
        token = f"runner-token{'-again' * len(self.runners)}"
        self.runners[token] = body
        return JSONResponse({"id": 6 + len(self.runners), "token": token, "token_expires_at": None}, 201)

    async def _verify(self, request: Request) -> Response:
        known = (await request.json())["token"] in self.runners
        return JSONResponse({"id": 7, "token": "runner-token"} if known else {}, 200 if known else 403)

    async def _unregister(self, request: Request) -> Response:
        del self.runners[(await request.json())["token"]]
        return Response(status_code=204)

    async def _request(self, request: Request) -> Response:
        self.asked += 1
        await self._notify()
        try:
            async with asyncio.timeout(2):
                return JSONResponse(await self.waiting.get(), 201)
        except TimeoutError:
            return Response(status_code=204)

    async def _trace(self, request: Request) -> Response:
        log, body = self.logs[request.path_params["id"]], await request.body()
        if self.lose_from is not None:
            del log[self.lose_from :]
            self.lose_from = None
        offset = request.headers["Content-Range"]
        fits = int(offset.split("-")[0]) == len(log)
        if fits:
            log += body
        self.pieces.append(offset)
        headers = {
            "Job-Status": self.job_status,
            "Range": f"0-{len(log)}",
            "X-GitLab-Trace-Update-Interval": "1",
        }
        await self._notify()
        return Response(status_code=202 if fits else 416, headers=headers)

    async def _state(self, request: Request) -> Response:
        job, body = request.path_params["id"], await request.json()
        self.states[job].append(body)
        status = 200
        if body["state"] != "running" and self.answers:
            status = self.answers.pop(0)
            if status == 412:
                self.logs[job].clear()
        await self._notify()
        return Response(status_code=status, headers={"Job-Status": self.job_status})

    async def _take(self, request: Request) -> Response:
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            content = await file.read()
        if self.file_answers:
            return Response(status_code=self.file_answers.pop(0))
        self.artifacts[request.path_params["id"]] = content
        told = {"token": request.headers["JOB-TOKEN"], "name": file.filename}
        self.uploads.append({**told, **request.query_params})
        return Response(status_code=201)

    async def _give(self, request: Request) -> Response:
        if self.file_answers:
            return Response(status_code=self.file_answers.pop(0))
        content = self.artifacts.get(request.path_params["id"])
        known = content is not None and request.headers["JOB-TOKEN"] == "token-of-dependency"
        return Response(content) if known else Response(status_code=404)

    async def _serve(self, request: Request) -> Response:
        expected = base64.b64encode(":".join(self.login).encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            return Response(status_code=401, headers={"WWW-Authenticate": "Basic"})
        self.command_lines += command_lines().values()
        file = self.served / request.path_params["path"]
        return Response(file.read_bytes()) if file.is_file() else Response(status_code=404)

    def log(self, job: int) -> str:
        return self.logs[job].decode()

    def checksum(self, job: int) -> dict[str, Any]:
        return {"checksum": f"crc32:{zlib.crc32(self.logs[job]):08x}", "bytesize": len(self.logs[job])}


@contextlib.asynccontextmanager
async def coordinator() -> AsyncIterator[Coordinator]:
    server = await Coordinator().start()
    try:
        yield server
    finally:
        await server.stop()
