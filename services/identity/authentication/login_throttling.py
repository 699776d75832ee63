"""Rate limits on failed logins, shared by all replicas.

Each failure counts against three limits: username and address, username, and address. The first limit is strict and
its waits grow exponentially, because it affects only clients with both the same username and the same address. The
other two slow down guesses from many addresses or for many usernames. Their waits stay short, and they do not apply to
a username at an address from which it has logged in before, so that an attacker cannot lock a user out of the usual
address.

Unknown usernames are counted like existing ones. Only a keyed hash of the username is stored, because users sometimes
type a password into the username field.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil

from pymongo import ReturnDocument

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.service.declaration import Context
from libs.settings import Settings

FAILURES_COLLECTION = "login_failures"
ANY_ADDRESS_FACTOR = 5  # failures allowed per username = this factor x failures allowed per username and address
FIRST_WAIT_DIVISOR = 20  # first wait = maximum wait / this divisor
TRUSTED_ADDRESS_TTL = timedelta(days=30)  # how long a username is trusted at an address after a login from there
IPV6_PREFIX_BITS = 64  # a client usually controls a whole IPv6 network of this prefix length


@dataclass(frozen=True, slots=True)
class RateLimit:
    key: str
    free_failures: int  # number of failures after which the first wait begins
    first_wait_seconds: float  # doubled by each further failure
    max_wait_seconds: float
    retention_seconds: float  # time after the last failure or wait until the failures no longer count

    def count_failure_pipeline(self, now: datetime) -> list[Document]:
        """Return an update pipeline that counts one failure atomically.

        `until` is null while no wait applies: replicas of 0.2.0 compare it with their own clock.
        """
        is_waiting = {"$gt": ["$until", now]}
        is_retained = {"$gt": ["$forgotten_at", now]}
        excess = {"$subtract": ["$failures", self.free_failures]}
        wait = {
            "$min": [
                self.max_wait_seconds,
                {"$multiply": [self.first_wait_seconds, {"$pow": [2, {"$min": [excess, 32]}]}]},
            ]
        }
        until = {"$cond": [{"$lt": [excess, 0]}, None, {"$add": [now, {"$toLong": {"$multiply": [wait, 1000]}}]}]}
        forgotten_at = {"$add": [{"$max": ["$until", now]}, int(self.retention_seconds * 1000)]}
        return [
            {"$set": {"failures": {"$cond": [is_retained, {"$add": ["$failures", {"$cond": [is_waiting, 0, 1]}]}, 1]}}},
            {"$set": {"until": {"$cond": [is_waiting, "$until", until]}}},
            {"$set": {"forgotten_at": forgotten_at}},
            {"$set": {"gone_at": {"$max": ["$gone_at", "$forgotten_at"]}}},
        ]


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One login attempt and its limits: username and address, username, address."""

    ctx: Context
    limits: tuple[RateLimit, RateLimit, RateLimit]

    async def check(self) -> None:
        """Raise RequestRejected with TOO_MANY_REQUESTS while a wait applies."""
        keys = [limit.key for limit in self.limits]
        raise_if_limited(await self._load_states(keys), self.limits, self.ctx.clock.database_time())

    async def record_failure(self) -> None:
        """Count a failure.

        Raises RequestRejected with TOO_MANY_REQUESTS if concurrent attempts have used up the free failures, so that the
        caller does not learn whether the password was wrong.
        """
        now = self.ctx.clock.database_time()
        states: dict[str, Document] = {}
        for limit in self.limits:
            before = await self.ctx.collection(FAILURES_COLLECTION).find_one_and_update(
                {"_id": limit.key},
                limit.count_failure_pipeline(now),
                upsert=True,
                return_document=ReturnDocument.BEFORE,
            )
            states[limit.key] = before or {}
            raise_if_limited(states, self.limits[:1], now)
        raise_if_limited(states, self.limits, now)

    async def record_success(self) -> None:
        """Reset the failures of this username at this address, and trust the address for this username.

        Raises RequestRejected with TOO_MANY_REQUESTS if a limit was reached since `check`, even though the password is
        correct.
        """
        now = self.ctx.clock.database_time()
        states = await self._load_states([limit.key for limit in self.limits])
        raise_if_limited(states, self.limits, now)
        key = self.limits[0].key
        state = states.get(key, {})
        if not state.get("trusted") or state["failures"] or state["gone_at"] < now + TRUSTED_ADDRESS_TTL / 2:
            reset = {"failures": 0, "until": None, "trusted": True, "gone_at": now + TRUSTED_ADDRESS_TTL}
            await self.ctx.collection(FAILURES_COLLECTION).update_one({"_id": key}, {"$set": reset}, upsert=True)

    async def _load_states(self, keys: Sequence[str]) -> dict[str, Document]:
        states = self.ctx.collection(FAILURES_COLLECTION).find({"_id": {"$in": keys}})
        return {state["_id"]: state async for state in states}


def start_attempt(ctx: Context, username: str, address: str) -> LoginAttempt:
    """Return the attempt of a username from a client's IP address."""
    return LoginAttempt(ctx, make_limits(ctx.settings, username.strip().lower(), network_prefix(address)))


def make_limits(settings: Settings, name: str, address: str) -> tuple[RateLimit, RateLimit, RateLimit]:
    """Return the limits for the username at the address, for the username, and for the address.

    `name` is in lower case; `address` is an IP address or the network of one.
    """
    free_failures, max_wait = settings.login_failures, settings.login_seconds
    first_wait = max_wait / FIRST_WAIT_DIVISOR

    def make_limit(kind: str, subject: str, failures: int, limit_max_wait: float) -> RateLimit:
        text = f"{kind}\n{subject}".encode(errors="surrogatepass")
        key = hmac.new(settings.master_keys[0], text, "sha256").hexdigest()
        return RateLimit(key, failures, first_wait, limit_max_wait, max_wait)

    return (
        make_limit("name at address", f"{address}\n{name}", free_failures, max_wait),
        make_limit("name", name, ANY_ADDRESS_FACTOR * free_failures, first_wait),
        make_limit("address", address, settings.login_address_failures, first_wait),
    )


def network_prefix(address: str) -> str:
    """Return an IPv4 address unchanged and an IPv6 address cut to its network; another text is returned unchanged."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or IPv6Address(int(parsed) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS))
    return str(parsed)


def raise_if_limited(states: Mapping[str, Document], limits: Sequence[RateLimit], now: datetime) -> None:
    """Raise RequestRejected with TOO_MANY_REQUESTS while one of the limits requires a wait.

    At a trusted address only the first limit, of the username at the address, applies.
    """
    strictest = states.get(limits[0].key, {})
    is_trusted = strictest.get("trusted") and strictest["gone_at"] > now
    applicable = [strictest] if is_trusted else [states.get(limit.key, {}) for limit in limits]
    waits = ((state["until"] - now).total_seconds() for state in applicable if state.get("until"))
    wait = max(waits, default=0)
    if wait > 0:
        raise RequestRejected("TOO_MANY_REQUESTS", retry_after=ceil(wait))
