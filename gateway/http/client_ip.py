"""The address from which a client asks: that of the connection, or what a proxy that we trust says."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from libs.settings import Network

FORWARDED_FOR = b"x-forwarded-for"
PROXY_HEADERS = frozenset({FORWARDED_FOR, b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via"})


def client_ip(scope: Scope, trusted: Sequence[Network]) -> str:
    """Every proxy appends whom it heard: read from the end, the first one that we do not trust is the client."""
    peer: str = scope["client"][0] if scope.get("client") else ""
    if not trusted:
        return peer
    said = b",".join(value for name, value in scope["headers"] if name == FORWARDED_FOR).decode("latin-1").split(",")
    address = _parse_ip(peer)
    while address and said and any(address in network for network in trusted):
        before = _parse_ip(said.pop())
        if before is None:
            break
        address = before
    return str(address or peer)


def is_local_request(scope: Scope) -> bool:
    """Whether a program of this machine asks, and nobody through a proxy that runs here."""
    peer = _parse_ip(scope["client"][0]) if scope.get("client") else None
    return bool(peer and peer.is_loopback) and not any(name in PROXY_HEADERS for name, _ in scope["headers"])


def _parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """`192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7` or `[2001:db8::7]:4711`."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed
