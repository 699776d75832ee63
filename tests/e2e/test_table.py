"""Every documented route, happy and with each listed error, as the files in `table` tell it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.routes import TABLE
from tests.support.scenery import clients_of, kept_of
from tests.support.stack import RunningStack, running_stack
from tests.support.table import Play, Scene, scenes, uncalled

SCENES = list(scenes(Path(__file__).parent / "table"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    patience = {"HEADRACE_LONG_POLL_SECONDS": "2"}
    with running_stack(tmp_path_factory.mktemp("table") / "data", replicas=1, environment=patience) as stack:
        yield stack
        assert stack.complaints() == []


@pytest.fixture(scope="module")
def clients(server: RunningStack) -> dict[str, httpx.Client]:
    return clients_of(server)


@pytest.fixture(scope="module")
def kept(server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return kept_of(server, tmp_path_factory.mktemp("table"))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_the_scene_goes_as_told(scene: Scene, clients: dict[str, httpx.Client], kept: dict[str, object]) -> None:
    play = Play(clients, dict(kept))
    for line in scene.calls:
        play.call(line)
    assert not play.complaints, "\n".join(play.complaints)


def test_every_route_is_called() -> None:
    assert uncalled(SCENES, TABLE) == []
