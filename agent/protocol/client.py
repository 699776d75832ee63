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

from libs.observability.tracing import TRACEPARENT_HEADER as TRACEPARENT
from libs.observability.tracing import inject
from libs.security.tls import VERIFY_FAILED, create_client_context
from libs.version import VERSION

logger = logging.getLogger("headrace.agent")

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
LONG_POLL_TIMEOUT_SECONDS = 75.0  # longer than any server holds a request without work
MAX_RETRY_AFTER_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 15.0
MAX_INTERACTIVE_BACKOFF_SECONDS = 2.0  # the longest pause where somebody waits for the end
MAX_FILE_ATTEMPTS = 6  # at a file; what is smaller is tried for ever
ABORTED_JOB_STATUSES = frozenset({"canceled", "failed"})
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


class RequestFailed(Exception):
    """The server answered, and not with what was asked for."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (status {status})")
        self.status = status


@dataclass(frozen=True, slots=True)
class RunnerIdentity:
    id: int
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobOffer:
    """The answer to a request for a job."""

    status: int
    payload: Mapping[str, Any] | None
    last_update: str | None


@dataclass(frozen=True, slots=True)
class JobResponse:
    """The answer to a call about a job."""

    status: int
    job_status: str
    stored_bytes: int | None  # bytes of the log that the server has
    interval_seconds: float | None  # seconds between two pieces of the log

    @property
    def is_aborted(self) -> bool:
        return self.status in (403, 404) or self.job_status in ABORTED_JOB_STATUSES


def runner_info(executor: str = "shell") -> dict[str, Any]:
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


def backoff_delays(initial: float = 0.1, maximum: float = MAX_BACKOFF_SECONDS) -> Iterator[float]:
    """Growing, and never the same for two agents."""
    pause = initial
    while True:
        yield pause * random.uniform(0.75, 1.25)  # noqa: S311
        pause = min(pause * 2, maximum)


def _retry_after(headers: httpx.Headers) -> float:
    reset, after = headers.get("RateLimit-ResetTime"), headers.get("Retry-After", "")
    if not reset and after.isdigit():
        return min(float(after), MAX_RETRY_AFTER_SECONDS)
    try:
        until = parsedate_to_datetime(reset or after)
    except ValueError:
        return 0.0
    wait = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), MAX_RETRY_AFTER_SECONDS)


def _to_error(response: httpx.Response) -> RequestFailed:
    try:
        message = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = response.reason_phrase
    return RequestFailed(response.status_code, message if isinstance(message, str) else json.dumps(message))


def _to_job_response(response: httpx.Response) -> JobResponse:
    stored = re.fullmatch(r"\d+-(\d+)", response.headers.get("Range", ""))
    interval = response.headers.get("X-GitLab-Trace-Update-Interval", "")
    return JobResponse(
        status=response.status_code,
        job_status=response.headers.get("Job-Status", ""),
        stored_bytes=int(stored[1]) if stored else None,
        interval_seconds=float(interval) if interval.isdigit() and int(interval) > 0 else None,
    )


class ProtocolClient:
    """One method per call. Calls about jobs go on trying until there is an answer."""

    def __init__(self, url: str, executor: str = "shell", ca_file: str = "", retry_seconds: float = 0.0) -> None:
        """`ca_file`: authorities to trust instead of the system's. Raises CertificateError.

        `patience`: seconds for which a server that does not answer is asked to register and to verify.
        """
        self._retry_seconds = retry_seconds
        self._info = runner_info(executor)
        base = url.rstrip("/").removesuffix("/ci")
        self._client = httpx.AsyncClient(
            base_url=f"{base}/api/v4",
            timeout=httpx.Timeout(30, read=LONG_POLL_TIMEOUT_SECONDS),
            headers={"User-Agent": f"headrace-agent {VERSION}", "Accept": "application/json"},
            limits=httpx.Limits(keepalive_expiry=4),  # many servers close idle connections after 5 seconds
            verify=create_client_context(Path(ca_file)) if ca_file else True,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, where)

    async def register(self, token: str, **settings: Any) -> RunnerIdentity:
        body = {"token": token, "info": self._info, **settings}
        return self._to_identity(
            await self._send("POST", "/runners", json=body, attempts=5, retry_seconds=self._retry_seconds), 201
        )

    async def verify(self, token: str, system_id: str) -> RunnerIdentity:
        body = {"token": token, "system_id": system_id, "info": self._info}
        headers = {"RUNNER-TOKEN": token}
        response = await self._send(
            "POST", "/runners/verify", json=body, headers=headers, attempts=5, retry_seconds=self._retry_seconds
        )
        return self._to_identity(response, 200, known=token)

    async def unregister(self, token: str) -> None:
        response = await self._send(
            "DELETE", "/runners", json={"token": token}, headers={"RUNNER-TOKEN": token}, attempts=5
        )
        if response.status_code != 204:
            raise _to_error(response)

    async def request_job(self, token: str, system_id: str, last_update: str | None) -> JobOffer:
        body = {"token": token, "system_id": system_id, "info": self._info}
        if last_update:
            body["last_update"] = last_update
        response = await self._send("POST", "/jobs/request", json=body, headers={"RUNNER-TOKEN": token})
        try:
            payload = response.json() if response.status_code == 201 else None
        except ValueError:
            raise RequestFailed(201, "the job is not readable as JSON") from None
        return JobOffer(response.status_code, payload, response.headers.get("X-GitLab-Last-Update"))

    async def append_trace(self, job_id: int, token: str, offset: int, content: bytes) -> JobResponse:
        headers = {
            "JOB-TOKEN": token,
            "Content-Type": "text/plain",
            "Content-Range": f"{offset}-{offset + len(content) - 1}",
        }
        path = f"/jobs/{job_id}/trace?debug_trace=false"
        return _to_job_response(await self._send("PATCH", path, content=content, headers=headers))

    async def put_state(self, job_id: int, token: str, state: str, **details: Any) -> JobResponse:
        body = {"token": token, "state": state, "info": self._info, **details}
        return _to_job_response(await self._send("PUT", f"/jobs/{job_id}", json=body, headers={"JOB-TOKEN": token}))

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
                attempts=MAX_FILE_ATTEMPTS,
            )
        if response.status_code != 201:
            raise _to_error(response)

    async def download_artifacts(self, job_id: int, token: str, path: Path) -> None:
        """Into a new file. Raises Refused once the server does not give it, or after some attempts."""
        for attempt, pause in enumerate(backoff_delays(initial=0.5), start=1):
            try:
                await self._download(f"/jobs/{job_id}/artifacts", {"JOB-TOKEN": token}, path)
            except httpx.TransportError as error:
                failure = RequestFailed(0, f"the server cannot be reached: {error or type(error).__name__}")
            except RequestFailed as refused:
                failure = refused
            else:
                return
            if attempt == MAX_FILE_ATTEMPTS or (failure.status and failure.status not in RETRYABLE_STATUSES):
                raise failure
            await asyncio.sleep(pause)

    async def _download(self, path: str, headers: Mapping[str, str], into: Path) -> None:
        async with self._client.stream("GET", path, headers=headers, follow_redirects=True) as response:
            if response.status_code != 200:
                await response.aread()
                raise _to_error(response)
            with into.open("wb") as file:
                async for chunk in response.aiter_raw():
                    file.write(chunk)

    def _to_identity(self, response: httpx.Response, expected: int, known: str = "") -> RunnerIdentity:
        if response.status_code != expected:
            raise _to_error(response)
        try:
            answer = response.json()
            return RunnerIdentity(int(answer.get("id") or 0), str(answer.get("token") or known))
        except (ValueError, TypeError, AttributeError):
            if known:  # older servers answer in plain text
                return RunnerIdentity(0, known)
            raise RequestFailed(response.status_code, "the answer holds no runner token") from None

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
        retry_seconds: float = 0.0,
    ) -> httpx.Response:
        """Until there is an answer; `attempts` at least, and more of them `within` so many seconds."""
        sent = {**(headers or {}), "X-Request-Id": uuid.uuid4().hex}
        if traceparent := inject():
            sent[TRACEPARENT] = traceparent
        deadline = time.monotonic() + retry_seconds
        for attempt, pause in enumerate(
            backoff_delays(maximum=MAX_INTERACTIVE_BACKOFF_SECONDS if retry_seconds else MAX_BACKOFF_SECONDS), start=1
        ):
            last = attempts is not None and attempt >= attempts and time.monotonic() >= deadline
            wished = 0.0
            try:
                response = await self._client.request(
                    method, path, json=json, content=content, params=params, files=files, headers=sent
                )
            except httpx.TransportError as error:
                if last or (retry_seconds and VERIFY_FAILED in str(error)):
                    hint = " (--ca-file names the authorities to trust)" * (VERIFY_FAILED in str(error))
                    why = f"{error or type(error).__name__}{hint}"
                    raise RequestFailed(0, f"the server at {self._client.base_url} cannot be reached: {why}") from error
                trouble = str(error) or type(error).__name__
            else:
                busy = response.status_code in RETRYABLE_STATUSES or response.status_code >= 512
                if not busy or last or response.headers.get("Job-Status") in ABORTED_JOB_STATUSES:
                    if attempt > 1:
                        logger.info("%s %s: answered at attempt %d", method, path, attempt)
                    return response
                wished, trouble = _retry_after(response.headers), f"status {response.status_code}"
            if attempt == 1:
                where = f"{self._client.base_url}{path.removeprefix('/')}"
                limit = f", for {retry_seconds:g} seconds at most" if retry_seconds else ""
                logger.warning("%s %s: %s; trying again%s", method, where, trouble, limit)
            await asyncio.sleep(max(pause, wished))
        raise AssertionError("unreachable")
