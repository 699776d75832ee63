"""Client of the HTTP API. Requests, but not streams, are retried while a server that has responded is unavailable."""

import os
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from client.errors import UNAVAILABLE_STATUSES, ApiError, ServerUnreachable
from libs.version import VERSION

TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 60.0  # longer than a restart or an upgrade of the server takes
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0
MAX_ERROR_LENGTH = 300

Parameters = Mapping[str, Any]


class Client:
    """Sends requests in the name of a user. Paths begin after the API's `/api`, like `/developer/projects`.

    Raises ApiError if the server rejects a request, and ServerUnreachable if it does not respond. Writes have an
    `Idempotency-Key`, so that a retry after a lost response has no second effect.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        retry_seconds: float = RETRY_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        self.has_answered = False
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            base_url=f"{self.url}/api",
            headers={"User-Agent": f"headrace-client/{VERSION}", **authorization},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            trust_env=not _is_loopback(self.url),  # no proxy for a server on this machine
            verify=_create_ssl_context() if self.url.startswith("https:") else True,
        )

    @classmethod
    def sign_in(cls, url: str, username: str, password: str) -> Self:
        """Return a client with an access token. The server's settings say when the token expires; default: 1 hour."""
        with cls(url) as anonymous:
            auth = {"username": username, "password": password}
            return cls(url, anonymous.post("/auth/token", {"auth": auth})["access_token"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any = None) -> Any:
        return self.request("POST", path, body)

    def put(self, path: str, body: Any = None) -> Any:
        return self.request("PUT", path, body)

    def patch(self, path: str, body: Any = None) -> Any:
        return self.request("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", path)

    def request(self, method: str, path: str, body: Any = None, params: Parameters | None = None) -> Any:
        """Return the JSON of the response, its text if it is not JSON, or None if it is empty."""
        response = self._send_with_retries(method, path, body, params)
        if not response.content:
            return None
        return response.json() if "json" in response.headers.get("content-type", "") else response.text

    @contextmanager
    def stream(
        self, path: str, params: Parameters | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Yield a response whose body is read in chunks. A read has a longer timeout than a request.

        The request is not retried. Raises ApiError, and ServerUnreachable, also while the body is read.
        """
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=2 * TIMEOUT_SECONDS)
        try:
            with self._http.stream("GET", path, params=params, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _read_error(response)
                self.has_answered = True
                yield response
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _send_with_retries(self, method: str, path: str, body: Any, params: Parameters | None) -> httpx.Response:
        headers = {} if method in ("GET", "HEAD") else {"Idempotency-Key": uuid4().hex}
        deadline, pause = time.monotonic() + self._retry_seconds, FIRST_PAUSE_SECONDS
        while True:
            failure: ApiError | ServerUnreachable
            try:
                response = self._http.request(method, path, json=body, params=params, headers=headers)
                self.has_answered = self.has_answered or response.status_code not in UNAVAILABLE_STATUSES
                if response.is_success:
                    return response
                failure = _read_error(response)
                if response.status_code not in UNAVAILABLE_STATUSES:
                    raise failure
            except httpx.InvalidURL as error:
                raise ServerUnreachable(f"{self.url} is not a URL: {error}.") from error
            except httpx.HTTPError as error:
                failure = self._unreachable(error)
                failure.__cause__ = error
            if not self.has_answered or time.monotonic() + pause > deadline:
                raise failure
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        reason = str(error) or type(error).__name__
        return ServerUnreachable(f"{self.url} does not answer: {reason}")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _create_ssl_context() -> ssl.SSLContext:
    """Return a context that trusts the certificates in the file HEADRACE_CA_FILE; without it, the system's."""
    return ssl.create_default_context(cafile=os.environ.get("HEADRACE_CA_FILE") or None)


def _read_error(response: httpx.Response) -> ApiError:
    problem: Any = None
    if "json" in response.headers.get("content-type", ""):
        try:
            problem = response.json()
        except ValueError:
            problem = None
    if isinstance(problem, dict) and problem.get("message"):
        return ApiError(response.status_code, str(problem["message"]), str(problem.get("detail") or ""))
    location = response.headers.get("location")
    detail = f"redirect to {location}" if location else response.text[:MAX_ERROR_LENGTH].strip()
    return ApiError(response.status_code, f"HTTP_{response.status_code}", detail or response.reason_phrase)
