"""Every event store enforces reservations of unique names."""

import asyncio
from collections import Counter

import pytest

from contracts.errors import RequestRejected
from libs.eventstore import (
    EventStore,
    WrongExpectedVersion,
)
from libs.eventstore.decider import Release, RequireOther, Reserve
from tests.support.counters.commits import make_commit


async def test_a_reservation_has_one_owner(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=reserve))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=reserve))
    assert await store.read("counter-2") == []


async def test_the_owner_may_repeat_its_reservation(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit(claims=reserve))
    await store.append(make_commit(expected=1, claims=reserve))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=reserve))


async def test_a_released_reservation_is_free(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=reserve))
    await store.append(make_commit("counter-1", 1, claims=(Release("label:a"),)))
    await store.append(make_commit("counter-2", claims=reserve))
    assert len(await store.read("counter-2")) == 1


async def test_a_reservation_of_another_stream_cannot_be_released(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1", claims=reserve))
    await store.append(make_commit("counter-2", claims=(Release("label:a"),)))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-3", claims=reserve))


async def test_a_name_released_and_reserved_in_one_commit_is_kept(store: EventStore) -> None:
    reserve = Reserve("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(make_commit("counter-1", claims=(reserve,)))
    await store.append(make_commit("counter-1", 1, claims=(Release("label:a"), reserve)))
    with pytest.raises(RequestRejected, match="PROJECT_ALIAS_TAKEN"):
        await store.append(make_commit("counter-2", claims=(reserve,)))


async def test_a_name_reserved_and_released_in_one_commit_is_free(store: EventStore) -> None:
    reserve = Reserve("label:a", "PROJECT_ALIAS_TAKEN")
    await store.append(make_commit("counter-1", claims=(reserve, Release("label:a"))))
    await store.append(make_commit("counter-2", claims=(reserve,)))
    assert len(await store.read("counter-2")) == 1


async def test_a_commit_with_a_wrong_version_reserves_no_name(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    await store.append(make_commit("counter-1"))
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit("counter-1", claims=reserve))
    await store.append(make_commit("counter-2", claims=reserve))
    assert len(await store.read("counter-2")) == 1


async def test_only_one_of_many_concurrent_reservations_succeeds(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    attempts = [make_commit(f"counter-{number}", claims=reserve) for number in range(20)]
    outcomes = await asyncio.gather(*map(store.append, attempts), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 1, RequestRejected: 19}


OTHER = RequireOther("counters", {"value": 1}, "BUILD_STATUS")
"""Requires another counter with the value 1, which is that of a counter with one commit."""


async def test_a_commit_that_requires_another_stream_is_rejected_without_one(store: EventStore) -> None:
    await store.append(make_commit("counter-1"))
    with pytest.raises(RequestRejected, match="BUILD_STATUS"):
        await store.append(make_commit("counter-1", 1, claims=(OTHER,)))
    await store.append(make_commit("counter-2"))
    await store.append(make_commit("counter-1", 1, claims=(OTHER,)))
    assert len(await store.read("counter-1")) == 2


async def test_of_streams_that_require_each_other_one_remains(store: EventStore) -> None:
    streams = [f"counter-{number}" for number in range(6)]
    for stream in streams:
        await store.append(make_commit(stream))
    outcomes = await asyncio.gather(
        *(store.append(make_commit(stream, 1, claims=(OTHER,))) for stream in streams), return_exceptions=True
    )
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 5, RequestRejected: 1}
