"""The limit on guessing passwords: failed log-ins, counted by all replicas together.

Failures count three times: for the name at the address, for the name wherever it comes from, and for the address. The
first limit is the strict one, and its waits grow, for it hits only whoever shares both with the guesser. The wider ones
are there for guesses from many addresses and at many names; their waits stay short, and they do not concern a name at
an address from which it was right before. So strangers keep nobody out of the place where one usually logs in.

A name counts the same whether there is such a user or not. What is kept of it is a keyed hash, because people type
passwords into the wrong field.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from pymongo import ReturnDocument

from contracts.errors import RequestRejected
from libs.service.declaration import Context
from libs.settings import Settings

FAILURES_COLLECTION = "login_failures"
ANY_ADDRESS_FACTOR = 5  # so many times the failures for a name that are allowed at one address
FIRST_WAIT_DIVISOR = 20  # the shortest wait is this part of the longest one
TRUSTED_ADDRESS_TTL = timedelta(days=30)  # so long an address stays one from which a name was right
IPV6_PREFIX_BITS = 64  # bits: whoever has one address of IPv6 has all that begin like it


@dataclass(frozen=True, slots=True)
class RateLimit:
    key: str
    free_failures: int  # that many are free
    first_wait_seconds: float  # seconds to wait after the last free one, twice as long after each further one
    max_wait_seconds: float  # seconds to wait at most
    retention_seconds: float  # seconds after the last wait until all is forgotten

    def count_failure_pipeline(self, now: datetime) -> list[dict[str, Any]]:
        """As a pipeline, so that attempts at the same moment are counted one after the other.

        While nobody waits there is no `until`: a replica of 0.2.0 goes by its own clock, and what it counted must not
        look like one.
        """
        waiting = {"$gt": ["$until", now]}
        remembered = {"$gt": ["$forgotten_at", now]}
        over = {"$subtract": ["$failures", self.free_failures]}
        wait = {
            "$min": [
                self.max_wait_seconds,
                {"$multiply": [self.first_wait_seconds, {"$pow": [2, {"$min": [over, 32]}]}]},
            ]
        }
        until = {"$cond": [{"$lt": [over, 0]}, None, {"$add": [now, {"$toLong": {"$multiply": [wait, 1000]}}]}]}
        memory = {"$add": [{"$max": ["$until", now]}, int(self.retention_seconds * 1000)]}
        return [
            {"$set": {"failures": {"$cond": [remembered, {"$add": ["$failures", {"$cond": [waiting, 0, 1]}]}, 1]}}},
            {"$set": {"until": {"$cond": [waiting, "$until", until]}}},
            {"$set": {"forgotten_at": memory}},
            {"$set": {"gone_at": {"$max": ["$gone_at", "$forgotten_at"]}}},
        ]


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A log-in before it is known whether it is right. `limits`: for the name at the address, the name, the address."""

    ctx: Context
    limits: tuple[RateLimit, RateLimit, RateLimit]

    async def check(self) -> None:
        """Refuse with TOO_MANY_REQUESTS while there is something to wait for."""
        keys = [limit.key for limit in self.limits]
        raise_if_limited(await self._load_states(keys), self.limits, self.ctx.clock.database_time())

    async def record_failure(self) -> None:
        """Count it. Whoever was overtaken by others who used up the free ones is not told that it failed."""
        now = self.ctx.clock.database_time()
        states = {}
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
        """Forget the failures of this name at this address. Also a right guess is refused when it comes too late."""
        now = self.ctx.clock.database_time()
        states = await self._load_states([limit.key for limit in self.limits])
        raise_if_limited(states, self.limits, now)
        key = self.limits[0].key
        known = states.get(key, {})
        if not known.get("trusted") or known["failures"] or known["gone_at"] < now + TRUSTED_ADDRESS_TTL / 2:
            right = {"failures": 0, "until": None, "trusted": True, "gone_at": now + TRUSTED_ADDRESS_TTL}
            await self.ctx.collection(FAILURES_COLLECTION).update_one({"_id": key}, {"$set": right}, upsert=True)

    async def _load_states(self, keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        return {one["_id"]: one async for one in self.ctx.collection(FAILURES_COLLECTION).find({"_id": {"$in": keys}})}


def start_attempt(ctx: Context, username: str, address: str) -> LoginAttempt:
    return LoginAttempt(ctx, make_limits(ctx.settings, username.strip().lower(), network_prefix(address)))


def make_limits(settings: Settings, name: str, address: str) -> tuple[RateLimit, RateLimit, RateLimit]:
    free, longest = settings.login_failures, settings.login_seconds
    first = longest / FIRST_WAIT_DIVISOR

    def limit(kind: str, whose: str, failures: int, at_most: float) -> RateLimit:
        key = hmac.new(settings.master_keys[0], f"{kind}\n{whose}".encode(errors="surrogatepass"), "sha256").hexdigest()
        return RateLimit(key, failures, first, at_most, longest)

    return (
        limit("name at address", f"{address}\n{name}", free, longest),
        limit("name", name, ANY_ADDRESS_FACTOR * free, first),
        limit("address", address, settings.login_address_failures, first),
    )


def network_prefix(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or IPv6Address(int(parsed) >> (128 - IPV6_PREFIX_BITS) << (128 - IPV6_PREFIX_BITS))
    return str(parsed)


def raise_if_limited(states: Mapping[str, Mapping[str, Any]], limits: Sequence[RateLimit], now: datetime) -> None:
    own = states.get(limits[0].key, {})
    trusted = own.get("trusted") and own["gone_at"] > now
    found = [own] if trusted else [states.get(limit.key, {}) for limit in limits]
    wait = max(((one["until"] - now).total_seconds() for one in found if one.get("until")), default=0)
    if wait > 0:
        raise RequestRejected("TOO_MANY_REQUESTS", retry_after=ceil(wait))
