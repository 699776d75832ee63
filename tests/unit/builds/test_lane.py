"""Builds of a project that may not run at the same time: one holds the lane, the others wait in order."""

import pytest

from contracts.builds import LaneGranted, LaneReleased, LaneRequested, ReleaseLane, RequestLane
from libs.testing.scenario import Scenario
from services.builds.domain.lane import lane_decider

lane = Scenario(lane_decider)


def request(build_id: int) -> RequestLane:
    return RequestLane(project_id=7, build_id=build_id)


def release(build_id: int) -> ReleaseLane:
    return ReleaseLane(project_id=7, build_id=build_id)


def requested(build_id: int) -> LaneRequested:
    return LaneRequested(project_id=7, build_id=build_id)


def granted(build_id: int) -> LaneGranted:
    return LaneGranted(project_id=7, build_id=build_id)


def released(build_id: int) -> LaneReleased:
    return LaneReleased(project_id=7, build_id=build_id)


def test_the_first_build_gets_the_lane_at_once() -> None:
    lane.given().when(request(1)).then(granted(1))


def test_a_second_build_waits() -> None:
    lane.given(granted(1)).when(request(2)).then(requested(2))


def test_the_builds_that_wait_get_the_lane_in_the_order_in_which_they_asked() -> None:
    waiting = (granted(1), requested(3), requested(2))
    lane.given(*waiting).when(release(1)).then(released(1), granted(3))
    lane.given(*waiting, released(1), granted(3)).when(release(3)).then(released(3), granted(2))


def test_the_last_build_leaves_the_lane_free() -> None:
    lane.given(granted(1)).when(release(1)).then(released(1))
    lane.given(granted(1), released(1)).when(request(2)).then(granted(2))


def test_a_build_that_was_granted_the_lane_waits_no_more() -> None:
    history = (granted(1), requested(2), requested(3), released(1), granted(2))
    lane.given(*history).when(release(2)).then(released(2), granted(3))


def test_a_build_that_no_longer_waits_is_passed_over() -> None:
    lane.given(granted(1), requested(2), requested(3)).when(release(2)).then(released(2))
    lane.given(granted(1), requested(2), requested(3), released(2)).when(release(1)).then(released(1), granted(3))


def test_a_build_released_before_it_asked_never_gets_the_lane() -> None:
    lane.given().when(release(1)).then(released(1))
    lane.given(released(1)).when(request(1)).then()
    lane.given(released(1)).when(request(2)).then(granted(2))


def test_a_release_before_the_request_takes_the_lane_from_nobody_else() -> None:
    history = (granted(1), released(2))
    lane.given(*history).when(request(3)).then(requested(3))
    lane.given(*history, requested(3)).when(release(1)).then(released(1), granted(3))


def test_a_build_may_ask_again_after_it_held_the_lane() -> None:
    lane.given(granted(1), released(1)).when(request(1)).then(granted(1))


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
def test_repeating_a_command_changes_nothing(
    history: tuple[LaneGranted | LaneRequested | LaneReleased, ...], command: RequestLane | ReleaseLane
) -> None:
    lane.given(*history).when(command).then()


def test_each_project_has_a_lane_of_its_own() -> None:
    assert {lane_decider.stream(command) for command in (request(1), release(2))} == {"lane-7"}
