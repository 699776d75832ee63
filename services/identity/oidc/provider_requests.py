"""Requests to the OpenID provider: bounded in time and size, without redirects."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx

from libs.observability.tracing import SpanKind, child_span
from libs.security.tls import VERIFY_FAILED, create_client_context
from libs.settings import Settings
from libs.version import VERSION

TIMEOUT_SECONDS = 8.0  # for one request
MAX_ANSWER_BYTES = 512 * 1024
MAX_ERROR_LENGTH = 60  # characters of the provider's error code that are logged


class ProviderUnavailable(Exception):
    """The provider gave no answer that can be used. The message contains no secrets."""


class ProviderRefused(Exception):
    """The provider answered with a status from 400 to 499."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    method: str
    url: str
    form: Mapping[str, str] | None = field(default=None, repr=False)
    login: tuple[str, str] | None = field(default=None, repr=False)
    access_token: str = field(default="", repr=False)


async def send(settings: Settings, request: ProviderRequest) -> Mapping[str, Any]:
    """Return the JSON object of the response. Raises ProviderUnavailable or ProviderRefused."""
    parts = urlsplit(request.url)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with child_span("OpenID provider", SpanKind.CLIENT, {"server.address": parts.hostname or ""}):
                status, body = await _send(settings, request)
    except (TimeoutError, httpx.TimeoutException):
        raise ProviderUnavailable("the provider did not answer in time") from None
    except (httpx.InvalidURL, httpx.LocalProtocolError, ValueError):
        # the original error may contain the code or the secret
        raise ProviderUnavailable("a URL of the provider or the client secret is malformed") from None
    except httpx.ConnectError as error:
        if VERIFY_FAILED in str(error):
            raise ProviderUnavailable("the certificate of the provider is not trusted (HEADRACE_CA_FILE)") from None
        raise ProviderUnavailable("the provider cannot be reached") from None
    except (httpx.HTTPError, OSError):
        raise ProviderUnavailable("the connection to the provider was lost") from None
    if 400 <= status < 500:
        raise ProviderRefused(f"{parts.path} of the provider answered {status}{_error_code(body)}")
    if status != 200:
        raise ProviderUnavailable(f"{parts.path} of the provider answered {status}")
    return _parse_object(body)


async def _send(settings: Settings, request: ProviderRequest) -> tuple[int, bytes]:
    headers = {"User-Agent": f"headrace/{VERSION}", "Accept": "application/json"}
    if request.access_token:
        headers["Authorization"] = f"Bearer {request.access_token}"
    # RFC 6749, section 2.3.1: both parts are form-encoded first
    auth = httpx.BasicAuth(*map(quote_plus, request.login)) if request.login else None
    context = create_client_context(settings.ca_file, keep_system_authorities=True)
    async with (
        httpx.AsyncClient(verify=context, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
        client.stream(request.method, request.url, data=request.form, headers=headers, auth=auth) as response,
    ):
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ProviderUnavailable("an answer of the provider is too large")
        return response.status_code, body


def _parse_object(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ProviderUnavailable("an answer of the provider is not a JSON object")
    return parsed


def _error_code(body: bytes) -> str:
    """Return the code of an OAuth error for the log, such as `: invalid_client`, or an empty string."""
    try:
        code = _parse_object(body).get("error")
    except ProviderUnavailable:
        return ""
    is_plain = isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum()
    return f": {code[:MAX_ERROR_LENGTH]}" if isinstance(code, str) and is_plain else ""
