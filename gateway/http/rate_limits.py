"""Rate limits of this gateway process: requests of each user, and requests of each address without valid credentials.

Requests that a service or the gateway refuses because of their credentials count for the address. While an address has
no requests left, credentials that would have to be looked up are not checked; login tokens, which the gateway verifies
by itself, are still accepted.
"""

from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from contracts.errors import RequestRejected
from libs.settings import RateLimitSettings

MAX_ENTRIES = 10_000  # limit of counted addresses, and of counted users; the least recently used are evicted
IPV6_PREFIX_LENGTH = 64  # addresses of one network count as one client, because a host can choose any of them


class RateLimit:
    """A limit of requests per minute for each key. All requests of a minute may be sent at once."""

    def __init__(self, per_minute: int) -> None:
        """`per_minute`: 0 disables the limit."""
        self._interval = 60 / max(per_minute, 1)  # seconds per request
        self._limiter = (
            Throttled(
                using=RateLimiterType.GCRA.value,
                quota=per_min(per_minute, burst=per_minute),
                store=MemoryStore(options={"MAX_SIZE": MAX_ENTRIES}),
            )
            if per_minute
            else None
        )

    def check(self, key: str) -> None:
        """Check that a request is left, without counting one. Raises TOO_MANY_REQUESTS."""
        if self._limiter and (state := self._limiter.peek(key)).remaining < 1:
            # not `state.retry_after`, which is for a request without cost
            _reject(state.reset_after - (state.limit - 1) * self._interval)

    def record(self, key: str) -> None:
        """Count a request that was already handled."""
        if self._limiter:
            self._limiter.limit(key)

    def take(self, key: str) -> None:
        """Count a request. Raises TOO_MANY_REQUESTS if none is left."""
        if self._limiter and (result := self._limiter.limit(key)).limited:
            _reject(result.state.retry_after)


class RateLimits:
    def __init__(self, settings: RateLimitSettings) -> None:
        self.of_users = RateLimit(settings.user)
        self.of_addresses = RateLimit(settings.address)


def client_key(address: str) -> str:
    """Return the key that counts a client's requests: its IPv4 address, or the network of its IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, IPV6_PREFIX_LENGTH), strict=False)) if isinstance(parsed, IPv6Address) else address


def _reject(retry_after: float) -> None:
    raise RequestRejected("TOO_MANY_REQUESTS", retry_after=max(1, ceil(retry_after)))
