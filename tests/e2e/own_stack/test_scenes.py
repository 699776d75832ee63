"""Every documented route with its success and error responses, as described by the scene files."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.routes import TABLE
from tests.support.stacks.running_stack import RunningStack, running_stack
from tests.support.stacks.scene_setup import create_clients, create_scene_variables
from tests.support.stacks.scenes import Scene, ScenePlayer, list_uncalled_routes, load_scenes

SCENES = list(load_scenes(Path(__file__).parent / "scenes"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    patience = {"HEADRACE_LONG_POLL_SECONDS": "2"}
    with running_stack(tmp_path_factory.mktemp("table") / "data", replicas=1, environment=patience) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture(scope="module")
def clients(server: RunningStack) -> dict[str, httpx.Client]:
    return create_clients(server)


@pytest.fixture(scope="module")
def variables(server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return create_scene_variables(server, tmp_path_factory.mktemp("table"))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_the_scene_gets_the_documented_responses(
    scene: Scene, clients: dict[str, httpx.Client], variables: dict[str, object]
) -> None:
    player = ScenePlayer(clients, dict(variables))
    for line in scene.calls:
        player.perform(line)
    assert not player.failures, "\n".join(player.failures)


def test_every_route_is_called_by_a_scene() -> None:
    assert list_uncalled_routes(SCENES, TABLE) == []
