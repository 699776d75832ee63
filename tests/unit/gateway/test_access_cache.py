"""The cache of access lookups: lifetime, limits and errors."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from contracts.errors import RequestRejected
from gateway import access_cache
from gateway.access_cache import StaleIfErrorCache


@dataclass
class Identity:
    responses: Mapping[str, str] = field(default_factory=dict)
    refusal: str = "TOKEN_INVALID"
    queries: list[str] = field(default_factory=list)
    now: float = 0.0

    async def query(self, key: str) -> str:
        self.queries.append(key)
        await asyncio.sleep(0)
        if key not in self.responses:
            raise RequestRejected(self.refusal)
        return self.responses[key]

    def remembered(self) -> StaleIfErrorCache[str, str]:
        return StaleIfErrorCache[str, str](self.query, lambda: self.now)


async def refused(known: StaleIfErrorCache[str, str], key: str) -> str:
    with pytest.raises(RequestRejected) as error:
        await known.get(key)
    return error.value.code


async def test_concurrent_lookups_within_a_second_send_one_query() -> None:
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await asyncio.gather(*(known.get("a") for _ in range(20)))
    identity.now = 0.9
    assert await known.get("a") == "anna"
    assert identity.queries == ["a"]


async def test_a_cached_value_is_refreshed_after_a_second() -> None:
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await known.get("a")
    identity.responses, identity.now = {}, 1.0
    assert await refused(known, "a") == "TOKEN_INVALID"


async def test_an_unknown_token_costs_one_query_per_second() -> None:
    identity = Identity()
    known = identity.remembered()
    assert [await refused(known, "x") for _ in range(3)] == ["TOKEN_INVALID"] * 3
    assert identity.queries == ["x"]
    identity.now = 1.0
    await refused(known, "x")
    assert identity.queries == ["x", "x"]


async def test_timeouts_are_not_cached() -> None:
    identity = Identity(refusal="SERVICE_TIMEOUT")
    known = identity.remembered()
    assert [await refused(known, "x"), await refused(known, "x")] == ["SERVICE_TIMEOUT"] * 2
    assert identity.queries == ["x", "x"]


async def test_many_unknown_tokens_neither_fill_the_cache_nor_evict_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_cache, "MAX_ENTRIES", 10)
    identity = Identity({"a": "anna"})
    known = identity.remembered()
    await known.get("a")
    for number in range(100):
        await refused(known, str(number))
    assert len(known._denials) <= 10
    assert not known._requests._running
    await known.get("a")
    assert identity.queries.count("a") == 1
