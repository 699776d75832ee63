"""Every event store appends and reads events, and detects conflicts and repeated commands."""

import asyncio
from dataclasses import replace

import pytest

from libs.eventstore import (
    CommitRef,
    DuplicateCommand,
    EventStore,
    WrongExpectedVersion,
)
from libs.eventstore.decider import RecordedEvent, Reserve
from tests.support.counters.commits import RAISED, make_commit, make_metadata
from tests.support.counters.counters import (
    CounterOpened,
)


async def test_appended_events_are_read_back_unchanged(store: EventStore) -> None:
    first = make_commit(events=(CounterOpened(label="a", owner="Ivan"), RAISED))
    await store.append(first)
    assert await store.read("counter-1") == [
        RecordedEvent("counter-1", 1, 0, CounterOpened(label="a", owner="Ivan"), first.metadata),
        RecordedEvent("counter-1", 1, 1, RAISED, first.metadata),
    ]


async def test_an_unknown_stream_is_empty(store: EventStore) -> None:
    assert await store.read("counter-1") == []


async def test_a_range_of_versions_can_be_read(store: EventStore) -> None:
    for expected in range(5):
        await store.append(make_commit(expected=expected))
    assert [recorded.version for recorded in await store.read("counter-1", after=3)] == [4, 5]
    assert [recorded.version for recorded in await store.read("counter-1", until=2)] == [1, 2]
    assert [recorded.version for recorded in await store.read("counter-1", after=1, until=3)] == [2, 3]
    assert await store.read("counter-1", after=5) == []


async def test_streams_with_a_common_name_prefix_are_kept_apart(store: EventStore) -> None:
    await store.append(make_commit("counter-1"))
    await store.append(make_commit("counter-11"))
    assert [recorded.stream for recorded in await store.read("counter-1")] == ["counter-1"]


async def test_a_recorded_command_is_found(store: EventStore) -> None:
    await store.append(make_commit())
    await store.append(make_commit(expected=1, command_id="second"))
    assert await store.find(make_metadata("second")) == CommitRef("counter-1", 2)
    assert await store.find(make_metadata("third")) is None


async def test_a_reaction_is_recorded_once_whatever_its_command_id(store: EventStore) -> None:
    first, again = (replace(make_metadata(id_), reaction_id="reaction") for id_ in ("first", "second"))
    await store.append(replace(make_commit(), metadata=first))
    assert await store.find(again) == CommitRef("counter-1", 1)
    for expected in (0, 1):
        with pytest.raises(DuplicateCommand) as duplicate:
            await store.append(replace(make_commit(expected=expected), metadata=again))
        assert duplicate.value.commit == CommitRef("counter-1", 1)
    assert len(await store.read("counter-1")) == 1


@pytest.mark.parametrize("stale", [0, 2])
async def test_a_wrong_expected_version_is_a_conflict(store: EventStore, stale: int) -> None:
    await store.append(make_commit())
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit(expected=stale))
    assert len(await store.read("counter-1")) == 1


@pytest.mark.parametrize("expected", [0, 1, 2])
async def test_a_repeated_command_is_recorded_once_whatever_version_it_expects(
    store: EventStore, expected: int
) -> None:
    await store.append(make_commit(command_id="same"))
    with pytest.raises(DuplicateCommand) as repeated:
        await store.append(make_commit(expected=expected, command_id="same"))
    assert repeated.value.commit == CommitRef("counter-1", 1)
    assert len(await store.read("counter-1")) == 1


async def test_a_repeated_command_is_recorded_once_even_on_another_stream(store: EventStore) -> None:
    reserve = (Reserve("label:a", "PROJECT_ALIAS_TAKEN"),)
    outcomes = await asyncio.gather(
        store.append(make_commit("counter-1", command_id="same", claims=reserve)),
        store.append(make_commit("counter-2", command_id="same", claims=reserve)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), DuplicateCommand]
    assert await store.read("counter-2") == []


async def test_conflicting_commits_do_not_affect_others_in_the_batch(store: EventStore) -> None:
    await asyncio.gather(*(store.append(make_commit(f"counter-{number}")) for number in range(50)))
    commits = [make_commit(f"counter-{number}", expected=0 if number % 5 == 0 else 1) for number in range(50)]
    outcomes = await asyncio.gather(*map(store.append, commits), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [WrongExpectedVersion, *[type(None)] * 4] * 10
    assert [len(await store.read(f"counter-{number}")) for number in range(50)] == [1, 2, 2, 2, 2] * 10


async def test_commits_appended_together_are_recorded_together(store: EventStore) -> None:
    await store.append(make_commit("counter-1"), make_commit("counter-2"))
    assert [len(await store.read(stream)) for stream in ("counter-1", "counter-2")] == [1, 1]


@pytest.mark.parametrize("existing", ["counter-1", "counter-2"])
async def test_commits_appended_together_fail_together(store: EventStore, existing: str) -> None:
    await store.append(make_commit(existing))
    with pytest.raises(WrongExpectedVersion):
        await store.append(make_commit("counter-1"), make_commit("counter-2"))
    assert sorted([len(await store.read(stream)) for stream in ("counter-1", "counter-2")]) == [0, 1]


async def test_a_partial_conflict_does_not_affect_other_commits(store: EventStore) -> None:
    await store.append(make_commit("counter-2"))
    others = [
        store.append(make_commit(f"counter-{number}"), make_commit(f"counter-{number}0")) for number in range(3, 9)
    ]
    outcomes = await asyncio.gather(
        *others, store.append(make_commit("counter-1"), make_commit("counter-2")), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [*[type(None)] * 6, WrongExpectedVersion]
