"""The concurrency group of a project: one build holds the slot, the others wait in order."""

import pytest

from contracts.builds import ConcurrencySlotGranted, ConcurrencySlotReleased, ConcurrencySlotRequested
from services.builds.domain.concurrency_group import concurrency_group_decider
from services.builds.domain.internal_commands import ReleaseConcurrencySlot, RequestConcurrencySlot
from tests.support.scenario import Scenario

group = Scenario(concurrency_group_decider)


def request(build_id: int) -> RequestConcurrencySlot:
    return RequestConcurrencySlot(project_id=7, build_id=build_id)


def release(build_id: int) -> ReleaseConcurrencySlot:
    return ReleaseConcurrencySlot(project_id=7, build_id=build_id)


def requested(build_id: int) -> ConcurrencySlotRequested:
    return ConcurrencySlotRequested(project_id=7, build_id=build_id)


def granted(build_id: int) -> ConcurrencySlotGranted:
    return ConcurrencySlotGranted(project_id=7, build_id=build_id)


def released(build_id: int) -> ConcurrencySlotReleased:
    return ConcurrencySlotReleased(project_id=7, build_id=build_id)


def test_the_first_build_gets_the_slot_immediately() -> None:
    group.given().when(request(1)).then(granted(1))


def test_a_second_build_waits_for_the_slot() -> None:
    group.given(granted(1)).when(request(2)).then(requested(2))


def test_waiting_builds_get_the_slot_in_request_order() -> None:
    waiting = (granted(1), requested(3), requested(2))
    group.given(*waiting).when(release(1)).then(released(1), granted(3))
    group.given(*waiting, released(1), granted(3)).when(release(3)).then(released(3), granted(2))


def test_the_slot_is_free_after_the_last_build_releases_it() -> None:
    group.given(granted(1)).when(release(1)).then(released(1))
    group.given(granted(1), released(1)).when(request(2)).then(granted(2))


def test_a_build_that_holds_the_slot_has_left_the_queue() -> None:
    history = (granted(1), requested(2), requested(3), released(1), granted(2))
    group.given(*history).when(release(2)).then(released(2), granted(3))


def test_a_build_that_left_the_queue_does_not_get_the_slot() -> None:
    group.given(granted(1), requested(2), requested(3)).when(release(2)).then(released(2))
    group.given(granted(1), requested(2), requested(3), released(2)).when(release(1)).then(released(1), granted(3))


def test_a_release_that_arrives_before_the_request_cancels_the_request() -> None:
    group.given().when(release(1)).then(released(1))
    group.given(released(1)).when(request(1)).then()
    group.given(released(1)).when(request(2)).then(granted(2))


def test_an_early_release_does_not_affect_other_builds() -> None:
    history = (granted(1), released(2))
    group.given(*history).when(request(3)).then(requested(3))
    group.given(*history, requested(3)).when(release(1)).then(released(1), granted(3))


def test_a_build_may_request_the_slot_again_after_releasing_it() -> None:
    group.given(granted(1), released(1)).when(request(1)).then(granted(1))


@pytest.mark.parametrize(
    ("history", "command"),
    [
        ((granted(1),), request(1)),
        ((granted(1), requested(2)), request(2)),
        ((released(1),), request(1)),
        ((released(1),), release(1)),
        ((granted(2), released(1)), release(1)),
    ],
)
def test_repeating_a_slot_command_changes_nothing(
    history: tuple[ConcurrencySlotGranted | ConcurrencySlotRequested | ConcurrencySlotReleased, ...],
    command: RequestConcurrencySlot | ReleaseConcurrencySlot,
) -> None:
    group.given(*history).when(command).then()


def test_each_project_has_its_own_concurrency_group() -> None:
    assert {concurrency_group_decider.stream(command) for command in (request(1), release(2))} == {"lane-7"}
