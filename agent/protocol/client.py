"""Client of GitLab's runner protocol, with retries.

Source: https://docs.gitlab.com/api/runners/ and https://docs.gitlab.com/development/cicd/.
"""

import asyncio
import logging
import platform
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx

from agent.protocol.responses import (
    ABORTED_JOB_STATUSES,
    JobOffer,
    JobResponse,
    RequestFailed,
    RunnerIdentity,
    to_error,
    to_job_response,
)
from agent.protocol.retry_after import parse_retry_after
from libs.backoff import MAX_BACKOFF_SECONDS, backoff_delays
from libs.observability.tracing import TRACEPARENT_HEADER, inject
from libs.security.tls import VERIFY_FAILED, create_client_context
from libs.version import VERSION

logger = logging.getLogger("headrace.agent")

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
LONG_POLL_TIMEOUT_SECONDS = 75.0  # limit for a response; longer than servers hold a job request
MAX_INTERACTIVE_BACKOFF_SECONDS = 2.0  # maximum pause between retries of a command for which a person waits
TOKEN_HEADERS = ("JOB-TOKEN", "RUNNER-TOKEN")
MAX_FILE_ATTEMPTS = 6  # attempts of an upload or download; other requests about jobs are retried without limit
KEEP_ALIVE_SECONDS = 4  # idle connections are closed after this time, because many servers close them after 5 seconds
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


def runner_info(executor: str = "shell") -> dict[str, Any]:
    in_containers = executor != "shell"
    machine = platform.machine().lower()
    return {
        "name": "headrace-agent",
        "version": VERSION,
        "platform": platform.system().lower(),
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "executor": executor,
        "shell": "bash",
        "features": FEATURES | {"image": in_containers, "services": in_containers},
    }


class ProtocolClient:
    """A client with one method for each request of the protocol.

    Requests about jobs are retried until the server responds, uploads and downloads up to MAX_FILE_ATTEMPTS times.
    """

    def __init__(self, url: str, executor: str = "shell", ca_file: str = "", retry_seconds: float = 0.0) -> None:
        """Create a client.

        `ca_file`: path of CA certificates to trust instead of the system's; raises CertificateError if it is unusable.
        `retry_seconds`: how long `register` and `verify` retry while the server is unreachable.
        """
        self._retry_seconds = retry_seconds
        self._info = runner_info(executor)
        base = url.rstrip("/").removesuffix("/ci")
        self._client = httpx.AsyncClient(
            base_url=f"{base}/api/v4",
            timeout=httpx.Timeout(30, read=LONG_POLL_TIMEOUT_SECONDS),
            headers={"User-Agent": f"headrace-agent {VERSION}", "Accept": "application/json"},
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
            verify=create_client_context(Path(ca_file)) if ca_file else True,
            event_hooks={"request": [self._drop_foreign_tokens]},
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, where)

    async def register(self, token: str, **settings: Any) -> RunnerIdentity:
        """Register a runner with a registration token. Return its id and token. Raises RequestFailed."""
        body = {"token": token, "info": self._info, **settings}
        return self._to_identity(
            await self._send("POST", "/runners", json=body, attempts=5, retry_seconds=self._retry_seconds), 201
        )

    async def verify(self, token: str, system_id: str) -> RunnerIdentity:
        """Return id and token of the runner with this token. Raises RequestFailed (status 403: unknown token).

        The id is 0 if the server, such as an older GitLab, does not send it.
        """
        body = {"token": token, "system_id": system_id, "info": self._info}
        headers = {"RUNNER-TOKEN": token}
        response = await self._send(
            "POST", "/runners/verify", json=body, headers=headers, attempts=5, retry_seconds=self._retry_seconds
        )
        return self._to_identity(response, 200, current_token=token)

    async def unregister(self, token: str) -> None:
        """Delete the runner at the server. Raises RequestFailed."""
        response = await self._send(
            "DELETE", "/runners", json={"token": token}, headers={"RUNNER-TOKEN": token}, attempts=5
        )
        if response.status_code != 204:
            raise to_error(response)

    async def request_job(self, token: str, system_id: str, last_update: str | None) -> JobOffer:
        """Request a job. The server holds the request until it has a job for this runner or its own timeout passes.

        Raises RequestFailed if the job is not valid JSON.
        """
        body = {"token": token, "system_id": system_id, "info": self._info}
        if last_update:
            body["last_update"] = last_update
        response = await self._send("POST", "/jobs/request", json=body, headers={"RUNNER-TOKEN": token})
        try:
            payload = response.json() if response.status_code == 201 else None
        except ValueError:
            raise RequestFailed(201, "the job is not valid JSON") from None
        return JobOffer(response.status_code, payload, response.headers.get("X-GitLab-Last-Update"))

    async def append_trace(self, job_id: int, token: str, offset: int, content: bytes) -> JobResponse:
        """Send a part of the log, which GitLab calls trace, starting at byte `offset`."""
        headers = {
            "JOB-TOKEN": token,
            "Content-Type": "text/plain",
            "Content-Range": f"{offset}-{offset + len(content) - 1}",
        }
        path = f"/jobs/{job_id}/trace?debug_trace=false"
        return to_job_response(await self._send("PATCH", path, content=content, headers=headers))

    async def put_state(self, job_id: int, token: str, state: str, **details: Any) -> JobResponse:
        """Report a job's state: `running`, `success` or `failed`."""
        body = {"token": token, "state": state, "info": self._info, **details}
        return to_job_response(await self._send("PUT", f"/jobs/{job_id}", json=body, headers={"JOB-TOKEN": token}))

    async def upload_artifacts(
        self, job_id: int, token: str, path: Path, name: str, parameters: Mapping[str, str]
    ) -> None:
        """Upload the file at `path` as `name`. Raises RequestFailed on a rejection or after MAX_FILE_ATTEMPTS."""
        with path.open("rb") as content:  # httpx rewinds the file for every attempt
            response = await self._send(
                "POST",
                f"/jobs/{job_id}/artifacts",
                params=parameters,
                files={"file": (name, content, "application/octet-stream")},
                headers={"JOB-TOKEN": token},
                attempts=MAX_FILE_ATTEMPTS,
            )
        if response.status_code != 201:
            raise to_error(response)

    async def download_artifacts(self, job_id: int, token: str, path: Path, max_bytes: int) -> None:
        """Download a job's artifacts to `path`. `max_bytes`: 0 for no limit.

        Raises RequestFailed on a rejection, after MAX_FILE_ATTEMPTS, or if the file is too large (status 413).
        """
        for attempt, delay in enumerate(backoff_delays(initial=0.5), start=1):
            try:
                await self._download(f"/jobs/{job_id}/artifacts", {"JOB-TOKEN": token}, path, max_bytes)
            except httpx.TransportError as error:
                failure = RequestFailed(0, f"the server cannot be reached: {error or type(error).__name__}")
            except RequestFailed as error:
                failure = error
            else:
                return
            if attempt == MAX_FILE_ATTEMPTS or (failure.status and failure.status not in RETRYABLE_STATUSES):
                raise failure
            await asyncio.sleep(delay)

    async def _download(self, path: str, headers: Mapping[str, str], into: Path, max_bytes: int) -> None:
        async with self._client.stream("GET", path, headers=headers, follow_redirects=True) as response:
            if response.status_code != 200:
                await response.aread()
                raise to_error(response)
            with into.open("wb") as file:
                async for chunk in response.aiter_raw():
                    file.write(chunk)
                    if 0 < max_bytes < file.tell():
                        raise RequestFailed(413, f"the file is larger than the agent's limit of {max_bytes} bytes")

    async def _drop_foreign_tokens(self, request: httpx.Request) -> None:
        """Remove tokens from a redirected request to another server, such as the bucket of the artifacts."""
        own, url = self._client.base_url, request.url
        is_upgrade = (own.scheme, own.port, url.scheme, url.port) == ("http", None, "https", None)
        if url.host != own.host or not (is_upgrade or (url.scheme, url.port) == (own.scheme, own.port)):
            for name in TOKEN_HEADERS:
                request.headers.pop(name, None)

    def _to_identity(self, response: httpx.Response, expected: int, current_token: str = "") -> RunnerIdentity:
        if response.status_code != expected:
            raise to_error(response)
        try:
            answer = response.json()
            return RunnerIdentity(int(answer.get("id") or 0), str(answer.get("token") or current_token))
        except (ValueError, TypeError, AttributeError):
            if current_token:  # older servers respond to `verify` in plain text
                return RunnerIdentity(0, current_token)
            raise RequestFailed(response.status_code, "the response has no runner token") from None

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
        """Send a request. Retry while the server is unreachable or busy.

        With `attempts`, give up after that many attempts, but not before `retry_seconds` have passed. Without, retry
        without limit. Return the last response, or raise RequestFailed if the server could not be reached.
        """
        all_headers = {**(headers or {}), "X-Request-Id": uuid.uuid4().hex}
        if traceparent := inject():
            all_headers[TRACEPARENT_HEADER] = traceparent
        deadline = time.monotonic() + retry_seconds
        for attempt, delay in enumerate(
            backoff_delays(maximum=MAX_INTERACTIVE_BACKOFF_SECONDS if retry_seconds else MAX_BACKOFF_SECONDS), start=1
        ):
            last = attempts is not None and attempt >= attempts and time.monotonic() >= deadline
            retry_after = 0.0
            try:
                response = await self._client.request(
                    method, path, json=json, content=content, params=params, files=files, headers=all_headers
                )
            except httpx.TransportError as error:
                if last or (retry_seconds and VERIFY_FAILED in str(error)):
                    hint = " (set the CA certificates to trust with --ca-file)" * (VERIFY_FAILED in str(error))
                    reason = f"{error or type(error).__name__}{hint}"
                    raise RequestFailed(
                        0, f"the server at {self._client.base_url} cannot be reached: {reason}"
                    ) from error
                problem = str(error) or type(error).__name__
            else:
                busy = response.status_code in RETRYABLE_STATUSES or response.status_code >= 512
                if not busy or last or response.headers.get("Job-Status") in ABORTED_JOB_STATUSES:
                    if attempt > 1:
                        logger.info("%s %s: succeeded at attempt %d", method, path, attempt)
                    return response
                retry_after, problem = parse_retry_after(response.headers), f"status {response.status_code}"
            if attempt == 1:
                url = f"{self._client.base_url}{path.removeprefix('/')}"
                limit = f" for up to {retry_seconds:g} seconds" if retry_seconds else ""
                logger.warning("%s %s: %s; retrying%s", method, url, problem, limit)
            await asyncio.sleep(max(delay, retry_after))
        raise AssertionError("unreachable")
