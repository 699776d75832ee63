"""A fake GitLab server. It speaks the runner protocol over HTTP, and tests can configure errors."""

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

TIMEOUT_SECONDS = 60.0


def _listen(port: int = 0) -> socket.socket:
    """Return a listening socket. IPPROTO_TCP is explicit, because asyncio sets TCP_NODELAY only on such sockets."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


def read_command_lines() -> dict[int, str]:
    """Return the command lines of all processes by process id, as every user of a machine can read them."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_bytes().decode(errors="replace")
    return found


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class FakeGitLabServer:
    def __init__(self) -> None:
        self.pending_jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.logs: dict[int, bytearray] = defaultdict(bytearray)
        self.state_reports: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.trace_ranges: list[str] = []  # Content-Range header of each log chunk
        self.runners: dict[str, dict[str, Any]] = {}
        self.job_request_count = 0
        self.job_status = "running"
        self.truncate_log_at: int | None = None  # cut the log to this length before the next chunk
        self.final_state_statuses: list[int] = []  # HTTP status codes of the responses to the next final job states
        self.artifacts: dict[int, bytes] = {}  # job id -> archive
        self.artifact_uploads: list[dict[str, Any]] = []  # token, file name and parameters of each accepted upload
        self.artifact_location = ""  # URL that downloads of artifacts are redirected to
        self.bucket_headers: list[dict[str, str]] = []  # headers of requests to /bucket, which serves artifacts
        self.artifact_statuses: list[int] = []  # HTTP status codes of the responses to the next artifact requests
        self.served_repository = Path("/nonexistent")  # repository served over the dumb HTTP protocol
        self.login = ("", "")
        self.command_lines: list[str] = []  # command lines of all processes while the agent fetches
        self.changed = asyncio.Condition()
        self._socket = _listen()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server: _Server | None = None
        self._server_task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        app = Starlette(
            routes=[
                Route("/api/v4/runners", self._register, methods=["POST"]),
                Route("/api/v4/runners", self._unregister, methods=["DELETE"]),
                Route("/api/v4/runners/verify", self._verify, methods=["POST"]),
                Route("/api/v4/jobs/request", self._request_job, methods=["POST"]),
                Route("/api/v4/jobs/{id:int}/trace", self._append_trace, methods=["PATCH"]),
                Route("/api/v4/jobs/{id:int}", self._update_state, methods=["PUT"]),
                Route("/bucket", self._serve_bucket),
                Route("/api/v4/jobs/{id:int}/artifacts", self._upload_artifact, methods=["POST"]),
                Route("/api/v4/jobs/{id:int}/artifacts", self._download_artifact, methods=["GET"]),
                Route("/served/{path:path}", self._serve_repository),
            ]
        )
        config = uvicorn.Config(app, lifespan="off", ws="none", log_level="critical", timeout_graceful_shutdown=0)
        self._server = _Server(config)
        self._server_task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self

    async def stop(self) -> None:
        assert self._server
        assert self._server_task
        self._server.should_exit = True
        await self._server_task

    async def restart(self, while_down: Callable[[], None]) -> None:
        port = self._socket.getsockname()[1]
        await self.stop()
        while_down()
        await asyncio.sleep(1)  # long enough for the agent to notice that the server is down
        self._socket = _listen(port)
        await self.start()

    async def simulate_outage(self, attempts: int) -> None:
        """Stop the server. Start it again on the same port when `attempts` connections have failed."""
        port = self._socket.getsockname()[1]
        await self.stop()
        failed = asyncio.Semaphore(0)

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            failed.release()

        async with asyncio.timeout(TIMEOUT_SECONDS), await asyncio.start_server(hang_up, sock=_listen(port)):
            for _ in range(attempts):
                await failed.acquire()
        self._socket = _listen(port)
        await self.start()

    async def wait_until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS), self.changed:
            await self.changed.wait_for(condition)

    async def wait_for_final_state(self, job: int) -> dict[str, Any]:
        await self.wait_until(lambda: self.state_reports[job] and self.state_reports[job][-1]["state"] != "running")
        return self.state_reports[job][-1]

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

    async def _request_job(self, request: Request) -> Response:
        self.job_request_count += 1
        await self._notify()
        try:
            async with asyncio.timeout(2):
                return JSONResponse(await self.pending_jobs.get(), 201)
        except TimeoutError:
            return Response(status_code=204)

    async def _append_trace(self, request: Request) -> Response:
        log, body = self.logs[request.path_params["id"]], await request.body()
        if self.truncate_log_at is not None:
            del log[self.truncate_log_at :]
            self.truncate_log_at = None
        offset = request.headers["Content-Range"]
        fits = int(offset.split("-")[0]) == len(log)
        if fits:
            log += body
        self.trace_ranges.append(offset)
        headers = {
            "Job-Status": self.job_status,
            "Range": f"0-{len(log)}",
            "X-GitLab-Trace-Update-Interval": "1",
        }
        await self._notify()
        return Response(status_code=202 if fits else 416, headers=headers)

    async def _update_state(self, request: Request) -> Response:
        job, body = request.path_params["id"], await request.json()
        self.state_reports[job].append(body)
        status = 200
        if body["state"] != "running" and self.final_state_statuses:
            status = self.final_state_statuses.pop(0)
            if status == 412:
                self.logs[job].clear()
        if status == 200 and (end := body.get("log_end")):
            assert end["offset"] == len(self.logs[job])
            self.logs[job] += base64.b64decode(end["content"])
        await self._notify()
        return Response(status_code=status, headers={"Job-Status": self.job_status})

    async def _upload_artifact(self, request: Request) -> Response:
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            content = await file.read()
        if self.artifact_statuses:
            return Response(status_code=self.artifact_statuses.pop(0))
        self.artifacts[request.path_params["id"]] = content
        upload = {"token": request.headers["JOB-TOKEN"], "name": file.filename}
        self.artifact_uploads.append({**upload, **request.query_params})
        return Response(status_code=201)

    async def _download_artifact(self, request: Request) -> Response:
        if self.artifact_statuses:
            return Response(status_code=self.artifact_statuses.pop(0))
        if self.artifact_location:
            return Response(status_code=302, headers={"Location": self.artifact_location})
        content = self.artifacts.get(request.path_params["id"])
        known = content is not None and request.headers["JOB-TOKEN"] == "token-of-dependency"
        return Response(content) if known else Response(status_code=404)

    async def _serve_bucket(self, request: Request) -> Response:
        self.bucket_headers.append(dict(request.headers))
        return Response(self.artifacts[10])

    async def _serve_repository(self, request: Request) -> Response:
        expected = base64.b64encode(":".join(self.login).encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            return Response(status_code=401, headers={"WWW-Authenticate": "Basic"})
        self.command_lines += read_command_lines().values()
        file = self.served_repository / request.path_params["path"]
        return Response(file.read_bytes()) if file.is_file() else Response(status_code=404)

    def log_text(self, job: int) -> str:
        return self.logs[job].decode()

    def checksum(self, job: int) -> dict[str, Any]:
        return {"checksum": f"crc32:{zlib.crc32(self.logs[job]):08x}", "bytesize": len(self.logs[job])}


@contextlib.asynccontextmanager
async def running_fake_gitlab() -> AsyncIterator[FakeGitLabServer]:
    server = await FakeGitLabServer().start()
    try:
        yield server
    finally:
        await server.stop()
