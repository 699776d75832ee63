"""HTTP requests to servers that users name, and the interpretation of connection failures."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from libs.observability.tracing import SpanKind, child_span
from libs.security.server_networks import find_refused, resolve_host
from libs.security.tls import VERIFY_FAILED, create_client_context
from libs.settings import RepositoryNetwork, Settings
from libs.version import VERSION
from services.notifications.attempts import DeliveryFailed

TIMEOUT_SECONDS = 10.0  # for the whole request
MAX_ANSWER_BYTES = 4096  # bytes that are read of an error response
TEMPORARY_STATUSES = (408, 429)


@dataclass(frozen=True)
class OutgoingPost:
    """An HTTP POST request. The URL and the headers can contain secrets."""

    url: str = field(repr=False)
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    server: str  # name of the server in reasons of failures, such as "the forge"
    content_type: str = "application/json"


@dataclass(frozen=True)
class Response:
    status: int
    start: bytes = field(repr=False)  # first bytes of an error response; empty for a success

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def post(settings: Settings, request: OutgoingPost) -> Response:
    """Send the request. Raises DeliveryFailed without a response, or if a later attempt can succeed.

    Other error responses are returned. Redirects are not followed: another server would get the secrets.
    """
    server = request.server
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            host = urlsplit(request.url).hostname or ""
            with child_span("outgoing request", SpanKind.CLIENT, {"server.address": host}):
                return await _post(settings, request)
    except (TimeoutError, httpx.TimeoutException):
        raise DeliveryFailed(f"{server} did not answer in time") from None
    except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, ValueError):
        # the original error may contain a secret
        raise DeliveryFailed(f"the URL of {server} or the secret for it is malformed", is_permanent=True) from None
    except httpx.ConnectError as error:
        if VERIFY_FAILED in str(error):
            raise DeliveryFailed(f"the certificate of {server} is not trusted") from None
        raise DeliveryFailed(f"{server} cannot be reached") from None
    except OSError:
        raise DeliveryFailed(f"the host name of {server} cannot be resolved") from None
    except httpx.HTTPError:
        raise DeliveryFailed(f"the connection to {server} was lost") from None


async def _post(settings: Settings, request: OutgoingPost) -> Response:
    url = httpx.URL(request.url)
    headers = {"User-Agent": f"headrace/{VERSION}", "Content-Type": request.content_type, **request.headers}
    extensions = {}
    if settings.repository_networks:
        headers["Host"] = url.netloc.decode()
        extensions["sni_hostname"] = url.host
        url = await _resolve(url, settings.repository_networks, request.server)
    context = create_client_context(settings.ca_file, keep_system_authorities=True)
    async with (
        httpx.AsyncClient(verify=context, timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
        client.stream("POST", url, content=request.content, headers=headers, extensions=extensions) as response,
    ):
        raise_for_temporary(response.status_code, response.headers, request.server)
        return Response(response.status_code, b"" if response.is_success else await _read_start(response))


def raise_for_temporary(status: int, headers: Mapping[str, str], server: str) -> None:
    """Raise DeliveryFailed for an error response after which a later attempt can succeed."""
    if status in TEMPORARY_STATUSES or status >= 500 or (status >= 300 and "retry-after" in headers):
        raise DeliveryFailed(f"{server} is overloaded or has a failure ({status})", response_code=status)


async def _resolve(url: httpx.URL, networks: Sequence[RepositoryNetwork], server: str) -> httpx.URL:
    """Return the URL with the IP address of its server instead of the name, so that the checked address is used.

    Raises DeliveryFailed if one of the addresses is not allowed.
    """
    addresses = await resolve_host(url.host, url.port or (443 if url.scheme == "https" else 80))
    if refused := find_refused(addresses, networks):
        raise DeliveryFailed(
            f"the address {refused} of {server} is not in the networks that this installation allows "
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
