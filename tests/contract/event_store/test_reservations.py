"""Every event store enforces reservations of unique names, and inserts new documents once."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore import (
    DuplicateCommand,
    EventStore,
    PendingCommit,
    WrongExpectedVersion,
)
from libs.eventstore.decider import NewDocument, Release, RequireOther, Reserve
from libs.eventstore.mongo import MongoEventStore
from tests.support.counters.commits import make_commit
from tests.support.memory_key_vault import MemoryKeyVault


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
"""Requires another counter with the value 1. A counter with one commit has this value."""


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


def with_document(commit: PendingCommit, id_: str = "a") -> PendingCommit:
    return replace(commit, new_document=NewDocument("labels", {"_id": id_, "stream": commit.stream}, "CONFLICT"))


async def test_a_document_is_new_for_one_commit_only(store: EventStore) -> None:
    await store.append(with_document(make_commit("counter-1")))
    appends = [with_document(make_commit("counter-2")), make_commit("counter-3")]
    outcomes = await asyncio.gather(*map(store.append, appends), return_exceptions=True)
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["CONFLICT", None]
    assert [len(await store.read(commit.stream)) for commit in appends] == [0, 1]


async def test_of_concurrent_commits_with_the_same_document_one_succeeds(store: EventStore) -> None:
    appends = [with_document(make_commit(f"counter-{number}")) for number in range(10)]
    outcomes = await asyncio.gather(*map(store.append, appends), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 1, RequestRejected: 9}


async def test_a_rejected_commit_inserts_no_document(store: EventStore) -> None:
    await store.append(make_commit("counter-1"))
    with pytest.raises(WrongExpectedVersion):
        await store.append(with_document(make_commit("counter-1")))
    await store.append(with_document(make_commit("counter-2")))
    assert len(await store.read("counter-2")) == 1


async def test_a_repeated_command_with_a_document_is_a_duplicate(store: EventStore) -> None:
    await store.append(with_document(make_commit(command_id="same")))
    with pytest.raises(DuplicateCommand):
        await store.append(with_document(make_commit(command_id="same")))


async def test_the_documents_of_a_batch_are_stored(database: AsyncDatabase[Document]) -> None:
    store = MongoEventStore(database, MemoryKeyVault())
    appends = [with_document(make_commit(f"counter-{id_}"), id_) for id_ in ("a", "b")]
    await asyncio.gather(*map(store.append, appends))
    stored = await database["labels"].find({}).sort("_id").to_list()
    assert stored == [{"_id": "a", "stream": "counter-a"}, {"_id": "b", "stream": "counter-b"}]
