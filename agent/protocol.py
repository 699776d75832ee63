"""The client side of the GitLab runner protocol, patient with servers that come and go."""

import asyncio
import json
import logging
import platform
import random
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from libs.observability.tracing import HEADER as TRACEPARENT
from libs.observability.tracing import inject
from libs.tls import UNTRUSTED, outgoing
from libs.version import VERSION

logger = logging.getLogger("headrace.agent")

BUSY = frozenset({408, 429, 500, 502, 503, 504})
HOLD = 75.0  # longer than any server holds a request without work
LONGEST_WAIT = 60.0
LONGEST_PAUSE = 15.0
WATCHED = 2.0  # the longest pause where somebody waits for the end
FILE_ATTEMPTS = 6  # at a file; what is smaller is tried for ever
ABORTED = frozenset({"canceled", "failed"})
FEATURES = {
    "variables": True,
    "refspecs": True,
    "masking": True,
    "raw_variables": True,
    "multi_build_steps": True,
    "trace_reset": True,
    "trace_checksum": True,
    "trace_size": True,
    "cancelable": True,
    "cancel_gracefully": True,
    "return_exit_code": True,
    "two_phase_job_commit": False,
    "image": False,
    "services": False,
    "artifacts": True,
    "artifacts_exclude": True,
    "upload_multiple_artifacts": True,
    "cache": True,
    "fallback_cache_keys": True,
    "session": False,
    "terminal": False,
}


class Refused(Exception):
    """The server answered, and not with what was asked for."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (status {status})")
        self.status = status


@dataclass(frozen=True, slots=True)
class Identity:
    id: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Offer:
    """The answer to a request for a job."""

    status: int
    payload: Mapping[str, Any] | None
    last_update: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call about a job."""

    status: int
    job_status: str
    stored: int | None  # bytes of the log that the server has
    interval: float | None  # seconds between two pieces of the log

    @property
    def aborts(self) -> bool:
        return self.status in (403, 404) or self.job_status in ABORTED


def about(executor: str = "shell") -> dict[str, Any]:
    contained = executor != "shell"
    machine = platform.machine().lower()
    return {
        "name": "headrace-agent",
        "version": VERSION,
        "platform": platform.system().lower(),
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "executor": "docker" if executor == "docker" else "shell",
        "shell": "bash",
        "features": FEATURES | {"image": contained, "services": contained},
    }


def pauses(first: float = 0.1, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Growing, and never the same for two agents."""
    pause = first
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311
        pause = min(pause * 2, longest)


def _wished_pause(headers: httpx.Headers) -> float:
    reset, after = headers.get("RateLimit-ResetTime"), headers.get("Retry-After", "")
    if not reset and after.isdigit():
        return min(float(after), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(reset or after)
    except ValueError:
        return 0.0
    wait = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), LONGEST_WAIT)


def _explained(response: httpx.Response) -> Refused:
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = response.reason_phrase
    return Refused(response.status_code, message if isinstance(message, str) else json.dumps(message))


def _answer(response: httpx.Response) -> Answer:
    stored = re.fullmatch(r"\d+-(\d+)", response.headers.get("Range", ""))
    interval = response.headers.get("X-GitLab-Trace-Update-Interval", "")
    return Answer(
        status=response.status_code,
        job_status=response.headers.get("Job-Status", ""),
        stored=int(stored[1]) if stored else None,
        interval=float(interval) if interval.isdigit() and int(interval) > 0 else None,
    )


class Protocol:
    """One method per call. Calls about jobs go on trying until there is an answer."""

    def __init__(self, url: str, executor: str = "shell", ca_file: str = "", patience: float = 0.0) -> None:
        """`ca_file`: authorities to trust instead of the system's. Raises CertificateError.

        `patience`: seconds for which a server that does not answer is asked to register and to verify.
        """
        self._patience = patience
        self._about = about(executor)
        base = url.rstrip("/").removesuffix("/ci")
        self._client = httpx.AsyncClient(
            base_url=f"{base}/api/v4",
            timeout=httpx.Timeout(30, read=HOLD),
            headers={"User-Agent": f"headrace-agent {VERSION}", "Accept": "application/json"},
            limits=httpx.Limits(keepalive_expiry=4),  # many servers close idle connections after 5 seconds
            verify=outgoing(Path(ca_file)) if ca_file else True,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, where)

    async def register(self, token: str, **settings: Any) -> Identity:
        body = {"token": token, "info": self._about, **settings}
        return self._identity(await self._send("POST", "/runners", json=body, attempts=5, within=self._patience), 201)

    async def verify(self, token: str, system_id: str) -> Identity:
        body = {"token": token, "system_id": system_id, "info": self._about}
        headers = {"RUNNER-TOKEN": token}
        response = await self._send(
            "POST", "/runners/verify", json=body, headers=headers, attempts=5, within=self._patience
        )
        return self._identity(response, 200, known=token)

    async def unregister(self, token: str) -> None:
        response = await self._send(
            "DELETE", "/runners", json={"token": token}, headers={"RUNNER-TOKEN": token}, attempts=5
        )
        if response.status_code != 204:
            raise _explained(response)

    async def request_job(self, token: str, system_id: str, last_update: str | None) -> Offer:
        body = {"token": token, "system_id": system_id, "info": self._about}
        if last_update:
            body["last_update"] = last_update
        response = await self._send("POST", "/jobs/request", json=body, headers={"RUNNER-TOKEN": token})
        try:
            payload = response.json() if response.status_code == 201 else None
        except ValueError:
            raise Refused(201, "the job is not readable as JSON") from None
        return Offer(response.status_code, payload, response.headers.get("X-GitLab-Last-Update"))

    async def append_trace(self, job_id: int, token: str, offset: int, content: bytes) -> Answer:
        headers = {
            "JOB-TOKEN": token,
            "Content-Type": "text/plain",
            "Content-Range": f"{offset}-{offset + len(content) - 1}",
        }
        path = f"/jobs/{job_id}/trace?debug_trace=false"
        return _answer(await self._send("PATCH", path, content=content, headers=headers))

    async def put_state(self, job_id: int, token: str, state: str, **details: Any) -> Answer:
        body = {"token": token, "state": state, "info": self._about, **details}
        return _answer(await self._send("PUT", f"/jobs/{job_id}", json=body, headers={"JOB-TOKEN": token}))

    async def upload_artifacts(
        self, job_id: int, token: str, path: Path, name: str, parameters: Mapping[str, str]
    ) -> None:
        """Raises Refused once the server does not want the file, or after some attempts."""
        with path.open("rb") as content:  # rewound for every attempt
            response = await self._send(
                "POST",
                f"/jobs/{job_id}/artifacts",
                params=parameters,
                files={"file": (name, content, "application/octet-stream")},
                headers={"JOB-TOKEN": token},
                attempts=FILE_ATTEMPTS,
            )
        if response.status_code != 201:
            raise _explained(response)

    async def download_artifacts(self, job_id: int, token: str, path: Path) -> None:
        """Into a new file. Raises Refused once the server does not give it, or after some attempts."""
        for attempt, pause in enumerate(pauses(first=0.5), start=1):
            try:
                await self._download(f"/jobs/{job_id}/artifacts", {"JOB-TOKEN": token}, path)
            except httpx.TransportError as error:
                failure = Refused(0, f"the server cannot be reached: {error or type(error).__name__}")
            except Refused as refused:
                failure = refused
            else:
                return
            if attempt == FILE_ATTEMPTS or (failure.status and failure.status not in BUSY):
                raise failure
            await asyncio.sleep(pause)

    async def _download(self, path: str, headers: Mapping[str, str], into: Path) -> None:
        async with self._client.stream("GET", path, headers=headers, follow_redirects=True) as response:
            if response.status_code != 200:
                await response.aread()
                raise _explained(response)
            with into.open("wb") as file:
                async for chunk in response.aiter_raw():
                    file.write(chunk)

    def _identity(self, response: httpx.Response, expected: int, known: str = "") -> Identity:
        if response.status_code != expected:
            raise _explained(response)
        try:
            answer = response.json()
            return Identity(int(answer.get("id") or 0), str(answer.get("token") or known))
        except (ValueError, TypeError, AttributeError):
            if known:  # older servers answer in plain text
                return Identity(0, known)
            raise Refused(response.status_code, "the answer holds no runner token") from None

    async def _send(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, BinaryIO, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        attempts: int | None = None,
        within: float = 0.0,
    ) -> httpx.Response:
        """Until there is an answer; `attempts` at least, and more of them `within` so many seconds."""
        sent = {**(headers or {}), "X-Request-Id": uuid.uuid4().hex}
        if traceparent := inject():
            sent[TRACEPARENT] = traceparent
        deadline = time.monotonic() + within
        for attempt, pause in enumerate(pauses(longest=WATCHED if within else LONGEST_PAUSE), start=1):
            last = attempts is not None and attempt >= attempts and time.monotonic() >= deadline
            wished = 0.0
            try:
                response = await self._client.request(
                    method, path, json=json, content=content, params=params, files=files, headers=sent
                )
            except httpx.TransportError as error:
                if last or (within and UNTRUSTED in str(error)):
                    hint = " (--ca-file names the authorities to trust)" * (UNTRUSTED in str(error))
                    why = f"{error or type(error).__name__}{hint}"
                    raise Refused(0, f"the server at {self._client.base_url} cannot be reached: {why}") from error
                trouble = str(error) or type(error).__name__
            else:
                busy = response.status_code in BUSY or response.status_code >= 512
                if not busy or last or response.headers.get("Job-Status") in ABORTED:
                    if attempt > 1:
                        logger.info("%s %s: answered at attempt %d", method, path, attempt)
                    return response
                wished, trouble = _wished_pause(response.headers), f"status {response.status_code}"
            if attempt == 1:
                where = f"{self._client.base_url}{path.removeprefix('/')}"
                limit = f", for {within:g} seconds at most" if within else ""
                logger.warning("%s %s: %s; trying again%s", method, where, trouble, limit)
            await asyncio.sleep(max(pause, wished))
        raise AssertionError("unreachable")
