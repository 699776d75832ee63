"""The networks in which servers that users name may be: of repositories, forges and receivers of notifications."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from libs.settings import PUBLIC, RepositoryNetwork

Address = IPv4Address | IPv6Address


def find_refused(addresses: Sequence[Address], networks: Sequence[RepositoryNetwork]) -> Address | None:
    """Return the first address that is in none of the networks, or None."""
    for address in addresses:
        if not any(address.is_global if network == PUBLIC else address in network for network in networks):
            return address
    return None


async def resolve_host(host: str, port: int) -> list[Address]:
    """Return the addresses of a host. Raises OSError if the host cannot be resolved."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = (ip_address(str(address[0]).partition("%")[0]) for *_, address in found)
    return [getattr(address, "ipv4_mapped", None) or address for address in addresses]
