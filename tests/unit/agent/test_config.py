"""The agent's configuration file."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import Config, ConfigError, Docker, load, save

CONFIG = Config(url="http://h", token="runner-token", id=7, name="mill", system_id="s_1", builds_dir="/b")


def test_what_was_saved_is_loaded_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agent.json"
    save(path, CONFIG)
    assert load(path) == (CONFIG,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["agent.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"url": 1}', '{"url":"u","token":"t","id":"x","name":"n","system_id":"s","builds_dir":"b"}'],
)
def test_an_unusable_file_is_one_clear_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        load(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="register the agent first"):
        load(tmp_path / "agent.json")


def test_the_token_does_not_show_when_printed() -> None:
    assert "runner-token" not in repr(CONFIG)


def test_a_file_that_is_itself_a_runner_holds_just_that_one(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text('{"url":"u","token":"t","id":1,"name":"n","system_id":"s","builds_dir":"b"}')
    assert [(each.id, each.executor) for each in load(path)] == [(1, "shell")]


def test_several_runners_and_their_containers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    docker = Docker(memory="1g", volumes=("/srv/cache:/cache:ro",), cap_add=())
    other = replace(CONFIG, id=8, executor="docker", docker=docker)
    save(path, CONFIG, other)
    assert load(path) == (CONFIG, other)


def test_the_file_goes_with_its_last_runner(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    save(path, CONFIG)
    save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    "docker",
    [
        {"volumes": ["/run/docker.sock:/s"]},
        {"volumes": ["/run:/run"]},
        {"volumes": ["/:/machine"]},
        {"volumes": ["/only"]},
        {"volumes": "/a:/b"},
        {"memory": "much"},
        {"pull_policy": "sometimes"},
        {"cpus": "two"},
    ],
)
def test_what_gives_the_machine_away_or_means_nothing_is_refused(tmp_path: Path, docker: dict[str, object]) -> None:
    path = tmp_path / "agent.json"
    save(path, CONFIG)
    runner = json.loads(path.read_text())["runners"][0]
    path.write_text(json.dumps({"runners": [runner | {"docker": {"socket": "/run/docker.sock"} | docker}]}))
    with pytest.raises(ConfigError, match="cannot be used"):
        load(path)
