"""Every documented route gives the success and error responses that the scene files expect."""

from collections.abc import Mapping

import pytest

from tests.e2e.used_stack.played_scenes import SCENES
from tests.support.gateway_routes import list_routes
from tests.support.stacks.scenes import list_uncalled_routes


@pytest.mark.parametrize("title", [scene.title for scene in SCENES])
def test_the_scene_gets_the_documented_responses(title: str, scene_failures: Mapping[str, list[str]]) -> None:
    assert not scene_failures[title], "\n".join(scene_failures[title])


def test_every_route_is_called_by_a_scene() -> None:
    assert list_uncalled_routes(SCENES, [route for route in list_routes() if route.path != "/events"]) == []
