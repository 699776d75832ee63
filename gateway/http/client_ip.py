"""The client's IP address: the connection's, or the one that a trusted proxy reports."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from libs.settings import Network

FORWARDED_FOR = b"x-forwarded-for"
PROXY_HEADERS = frozenset({FORWARDED_FOR, b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via"})


def client_ip(scope: Scope, trusted: Sequence[Network]) -> str:
    """Return the client's IP address, or an empty string if it is unknown.

    Every proxy appends its peer to X-Forwarded-For, so the last address that is not trusted is the client's.
    """
    peer: str = scope["client"][0] if scope.get("client") else ""
    if not trusted:
        return peer
    forwarded = (
        b",".join(value for name, value in scope["headers"] if name == FORWARDED_FOR).decode("latin-1").split(",")
    )
    address = _parse_ip(peer)
    while address and forwarded and any(address in network for network in trusted):
        previous = _parse_ip(forwarded.pop())
        if previous is None:
            break
        address = previous
    return str(address or peer)


def is_local_request(scope: Scope) -> bool:
    """Return whether the request comes from this machine, and not through a proxy that runs on it."""
    peer = _parse_ip(scope["client"][0]) if scope.get("client") else None
    return bool(peer and peer.is_loopback) and not any(name in PROXY_HEADERS for name, _ in scope["headers"])


def _parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7` or `[2001:db8::7]:4711`, else None."""
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
