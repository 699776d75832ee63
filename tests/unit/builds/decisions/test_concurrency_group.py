"""The concurrency group of a project: one build holds the slot, the others wait in order."""

import pytest

from contracts.builds import (
    BuildRow,
    BuildStatus,
    ConcurrencyGroupEvent,
    ConcurrencySlotGranted,
    ConcurrencySlotReleased,
    ConcurrencySlotRequested,
)
from libs.eventstore.decider import AnyCommand
from services.builds.domain.concurrency_group import ConcurrencyGroupCommand, concurrency_group_decider
from services.builds.domain.internal_commands import ContinueBuild, ReleaseConcurrencySlot, RequestConcurrencySlot
from services.builds.policies import on_slot_granted
from tests.support.scenario import Scenario

group = Scenario(concurrency_group_decider)
# versions of a build's stream: launched at 1, finished at 4, resumed at 5, finished again at 8
RESUMED_AT = 5


def request(build_id: int, version: int = 1) -> RequestConcurrencySlot:
    return RequestConcurrencySlot(7, build_id, version)


def release(build_id: int, version: int = 4) -> ReleaseConcurrencySlot:
    return ReleaseConcurrencySlot(7, build_id, version)


def requested(build_id: int, version: int = 1) -> ConcurrencySlotRequested:
    return ConcurrencySlotRequested(project_id=7, build_id=build_id, build_version=version)


def granted(build_id: int, version: int = 1) -> ConcurrencySlotGranted:
    return ConcurrencySlotGranted(project_id=7, build_id=build_id, build_version=version)


def released(build_id: int) -> ConcurrencySlotReleased:
    return ConcurrencySlotReleased(project_id=7, build_id=build_id)


def test_the_first_build_gets_the_slot_immediately() -> None:
    group.given().when(request(1)).then(granted(1))


def test_a_second_build_waits_for_the_slot() -> None:
    group.given(granted(1)).when(request(2)).then(requested(2))


def test_waiting_builds_get_the_slot_in_request_order() -> None:
    waiting = (granted(1), requested(3), requested(2, RESUMED_AT))
    group.given(*waiting).when(release(1)).then(released(1), granted(3))
    group.given(*waiting, released(1), granted(3)).when(release(3)).then(released(3), granted(2, RESUMED_AT))


def test_the_slot_is_free_after_the_last_build_releases_it() -> None:
    group.given(granted(1)).when(release(1)).then(released(1))
    group.given(granted(1), released(1)).when(request(2)).then(granted(2))


def test_a_build_that_holds_the_slot_has_left_the_queue() -> None:
    history = (granted(1), requested(2), requested(3), released(1), granted(2))
    group.given(*history).when(release(2)).then(released(2), granted(3))


def test_a_build_that_left_the_queue_does_not_get_the_slot() -> None:
    group.given(granted(1), requested(2), requested(3)).when(release(2)).then(released(2))
    group.given(granted(1), requested(2), requested(3), released(2)).when(release(1)).then(released(1), granted(3))


def test_a_release_that_arrives_before_the_request_leaves_nothing_behind() -> None:
    group.given().when(release(1)).then()
    group.given(granted(2)).when(release(1)).then()


def test_a_build_may_request_the_slot_again_after_releasing_it() -> None:
    group.given(granted(1), released(1)).when(request(1, RESUMED_AT)).then(granted(1, RESUMED_AT))


def test_a_resumed_build_whose_release_is_late_waits_behind_the_others() -> None:
    group.given(granted(1)).when(request(1, RESUMED_AT)).then(released(1), granted(1, RESUMED_AT))
    history = (granted(1), requested(2))
    again = (released(1), granted(2), requested(1, RESUMED_AT))
    group.given(*history).when(request(1, RESUMED_AT)).then(*again)
    group.given(*history, *again).when(release(1)).then()
    group.given(*history, *again, released(2), granted(1, RESUMED_AT)).when(release(1)).then()
    group.given(*history, *again).when(release(2)).then(released(2), granted(1, RESUMED_AT))


def test_a_build_that_was_killed_while_it_waited_and_then_resumed_waits_again() -> None:
    history = (granted(1), requested(2), requested(3))
    again = (released(2), requested(2, RESUMED_AT))
    group.given(*history).when(request(2, RESUMED_AT)).then(*again)
    group.given(*history, *again).when(release(2)).then()
    group.given(*history, *again).when(release(1)).then(released(1), granted(3))


def test_the_slot_of_a_resumed_build_is_released_when_it_finishes_again() -> None:
    group.given(granted(1, RESUMED_AT), requested(2)).when(release(1, 8)).then(released(1), granted(2))
    group.given(granted(1), requested(2)).when(release(1, 8)).then(released(1), granted(2))


def test_the_request_of_an_earlier_round_is_ignored_after_that_of_a_later_one() -> None:
    group.given(granted(1, RESUMED_AT)).when(request(1)).then()
    group.given(granted(2), requested(1, RESUMED_AT)).when(request(1)).then()


def test_requests_that_an_older_release_recorded_can_be_released_and_repeated() -> None:
    history = (granted(1, 0), requested(2, 0))
    group.given(*history).when(release(1)).then(released(1), granted(2, 0))
    group.given(*history).when(release(2)).then(released(2))
    group.given(*history).when(request(1, RESUMED_AT)).then(released(1), granted(2, 0), requested(1, RESUMED_AT))


def test_an_early_release_that_an_older_release_recorded_does_not_block_the_build() -> None:
    group.given(released(1)).when(request(1, RESUMED_AT)).then(granted(1, RESUMED_AT))
    group.given(granted(2), released(1)).when(request(1, RESUMED_AT)).then(requested(1, RESUMED_AT))


@pytest.mark.parametrize(
    ("history", "command"),
    [
        ((granted(1),), request(1)),
        ((granted(1), requested(2)), request(2)),
        ((granted(1), released(1)), release(1)),
        ((granted(2), requested(1), released(1)), release(1)),
    ],
)
def test_repeating_a_slot_command_changes_nothing(
    history: tuple[ConcurrencyGroupEvent, ...], command: ConcurrencyGroupCommand
) -> None:
    group.given(*history).when(command).then()


def test_each_project_has_its_own_concurrency_group() -> None:
    assert {concurrency_group_decider.stream(command) for command in (request(1), release(2))} == {"lane-7"}


waits = BuildRow(id=1, status=BuildStatus.QUEUED, round_version=1)
finished = waits.replace(status=BuildStatus.KILLED, finished=True)
resumed = waits.replace(status=BuildStatus.PLANNED, round=1, round_version=RESUMED_AT)
runs = resumed.replace(status=BuildStatus.RUNNING)


@pytest.mark.parametrize(
    ("version", "build", "command"),
    [
        (1, waits, None),
        (RESUMED_AT, resumed, ContinueBuild(1, 1)),
        (RESUMED_AT, runs, None),
        (0, resumed, ContinueBuild(1, 1)),
        (0, runs, None),
        (1, finished, release(1, 1)),
        (0, finished, release(1, 0)),
        (1, None, release(1, 1)),
        (1, resumed, release(1, 1)),
        (1, runs, release(1, 1)),
    ],
)
def test_a_build_that_gets_the_slot_is_planned_or_continues_or_returns_it(
    version: int, build: BuildRow | None, command: AnyCommand | None
) -> None:
    assert on_slot_granted(granted(1, version), build) == command
