"""Sends a request to a forge, and interprets the response."""

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from libs.observability.tracing import SpanKind, child_span
from libs.security.server_networks import find_refused, resolve_host
from libs.security.tls import VERIFY_FAILED, create_client_context
from libs.settings import RepositoryNetwork, Settings
from libs.version import VERSION
from services.notifications.outgoing.forges import ForgeRequest

TIMEOUT_SECONDS = 10.0  # for the whole request
MAX_ANSWER_BYTES = 4096  # of an error response; the rest is not read
TEMPORARY_STATUSES = (408, 429)
# GitLab rejects a status that the commit already has. This happens when a request is repeated after a lost response.
REPEATED_STATUS = b"Cannot transition status"


class DeliveryFailed(Exception):
    """The server did not accept the request. `reason` contains no token and, of the response, only the status."""

    def __init__(self, reason: str, *, is_permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_permanent = is_permanent  # a retry would fail the same way


async def post(settings: Settings, request: ForgeRequest) -> None:
    """Send the request. Raise DeliveryFailed."""
    host = urlsplit(request.url).hostname or ""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            with child_span("report commit status", SpanKind.CLIENT, {"server.address": host}):
                await _post(settings, request)
    except (TimeoutError, httpx.TimeoutException):
        raise DeliveryFailed("the forge did not answer in time") from None
    except (httpx.InvalidURL, httpx.LocalProtocolError, ValueError):
        # the original error may contain the token
        raise DeliveryFailed("the URL of the forge or the token is malformed", is_permanent=True) from None
    except httpx.ConnectError as error:
        if VERIFY_FAILED in str(error):
            raise DeliveryFailed("the certificate of the forge is not trusted") from None
        raise DeliveryFailed("the forge cannot be reached") from None
    except OSError:
        raise DeliveryFailed("the name of the forge's server cannot be resolved") from None
    except httpx.HTTPError:
        raise DeliveryFailed("the connection to the forge was lost") from None


async def _post(settings: Settings, request: ForgeRequest) -> None:
    url = httpx.URL(request.url)
    headers = {"User-Agent": f"headrace/{VERSION}", "Content-Type": "application/json", **request.headers}
    extensions = {}
    if settings.repository_networks:
        headers["Host"] = url.netloc.decode()
        extensions["sni_hostname"] = url.host
        url = await _resolve(url, settings.repository_networks)
    context = create_client_context(settings.ca_file, keep_system_authorities=True)
    content = json.dumps(dict(request.body)).encode()
    async with (
        httpx.AsyncClient(verify=context, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
        client.stream("POST", url, content=content, headers=headers, extensions=extensions) as response,
    ):
        if not response.is_success:
            raise_for_status(response.status_code, response.headers, await _read_start(response))


async def _resolve(url: httpx.URL, networks: Sequence[RepositoryNetwork]) -> httpx.URL:
    """Return the URL with the checked address of its server, whatever the name resolves to by then."""
    addresses = await resolve_host(url.host, url.port or (443 if url.scheme == "https" else 80))
    if refused := find_refused(addresses, networks):
        raise DeliveryFailed(
            f"the address {refused} of the forge is not in the networks that this installation allows "
            "(HEADRACE_REPOSITORY_NETWORKS)",
            is_permanent=True,
        )
    return url.copy_with(host=str(addresses[0]))


async def _read_start(response: httpx.Response) -> bytes:
    start = b""
    async for chunk in response.aiter_raw(MAX_ANSWER_BYTES):
        start += chunk
        if len(start) >= MAX_ANSWER_BYTES:
            break
    return start


def raise_for_status(status: int, headers: httpx.Headers, answer: bytes) -> None:
    """Raise DeliveryFailed for an error response, unless its reason is that the commit already has the status."""
    if status == 400 and REPEATED_STATUS in answer:
        return
    if status in TEMPORARY_STATUSES or status >= 500 or "retry-after" in headers:
        raise DeliveryFailed(f"the forge is overloaded or has a failure ({status})")
    match status:
        case 401 | 403:
            reason = "the forge refused the token"
        case 404:
            reason = "the forge has no such repository or commit, or hides it from the token"
        case _ if 300 <= status < 400:
            reason = "the forge redirects to another URL; set the URL of its API"
        case _:
            reason = "the forge refused the status"
    raise DeliveryFailed(f"{reason} ({status})", is_permanent=True)
