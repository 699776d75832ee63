"""Every documented route, happy and with each listed error, as the files in `table` tell it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.routes import TABLE
from tests.support.repositories import commit, sample_repository
from tests.support.stack import RunningStack, running_stack
from tests.support.table import Play, Scene, scenes, uncalled

SCENES = list(scenes(Path(__file__).parent / "table"))
PIPELINE = """
hello:
  stage: build
  script: [echo hello, test -n "$CI_JOB_TOKEN", echo "$CI_JOB_NAME" > made.txt]
  after_script: [echo bye]
  artifacts: {paths: [made.txt]}
  environment: none
broken: {script: [grep hello made.txt, exit 7], retry: 1}
deploy: {stage: deploy, script: [echo deployed], when: manual, allow_failure: false}
"""
PASSWORD = "a long enough one"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    patience = {"HEADRACE_LONG_POLL_SECONDS": "2"}
    with running_stack(tmp_path_factory.mktemp("table") / "data", replicas=1, environment=patience) as stack:
        yield stack
        assert stack.complaints() == []


@pytest.fixture(scope="module")
def clients(server: RunningStack) -> dict[str, httpx.Client]:
    for username, roles in (("dora", ["ROLE_DEVELOPER"]), ("olga", ["ROLE_DEVELOPER"]), ("anna", ["ROLE_ADMIN"])):
        server.made("developer", username=username, password=PASSWORD, roles=roles, email=f"{username}@example.org")
    return {
        "admin": server.admin,
        "developer": server.log_in("dora", PASSWORD),
        "other developer": server.log_in("olga", PASSWORD),
        "mere admin": server.log_in("anna", PASSWORD),
        "nobody": server.client(),
        "bad token": server.client("null"),
    }


@pytest.fixture(scope="module")
def kept(server: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What every scene may use."""
    repository = sample_repository(tmp_path_factory.mktemp("table") / "repository")
    commit(repository, {".gitlab-ci.yml": PIPELINE})
    project = server.project(repository)
    return {
        "repository": str(repository),
        "executor": server.executor,
        "project": project,
        "build": server.run(project)["id"],
    }


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_the_scene_goes_as_told(scene: Scene, clients: dict[str, httpx.Client], kept: dict[str, object]) -> None:
    play = Play(clients, dict(kept))
    for line in scene.calls:
        play.call(line)
    assert not play.complaints, "\n".join(play.complaints)


def test_every_route_is_called() -> None:
    assert uncalled(SCENES, TABLE) == []
