"""The agent's configuration file: format, permissions and invalid settings."""

import json
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from agent.config import ArchiveLimits, Config, ConfigError, DockerSettings, ProcessLimits, load, save
from agent.registration import register

CONFIG = Config(
    url="http://h", token="runner-token", id=7, name="mill", system_id="s_1", builds_dir="/b", executor="shell"
)


def test_a_saved_configuration_is_loaded_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agent.json"
    save(path, CONFIG)
    assert load(path) == (CONFIG,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["agent.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"url": 1}', '{"url":"u","token":"t","id":"x","name":"n","system_id":"s","builds_dir":"b"}'],
)
def test_an_invalid_configuration_file_gives_one_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        load(path)


def test_a_missing_configuration_file_gives_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="register the agent first"):
        load(tmp_path / "agent.json")


def test_the_repr_of_the_configuration_hides_the_token() -> None:
    assert "runner-token" not in repr(CONFIG)


def test_the_old_file_format_holds_one_runner(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(asdict(CONFIG)))
    assert load(path) == (CONFIG,)


def test_the_executor_has_no_default_and_auto_does_not_become_shell(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    content = asdict(CONFIG)
    path.write_text(json.dumps(content | {"executor": "auto"}))
    assert [runner.executor for runner in load(path)] == ["docker"]
    del content["executor"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="executor"):
        load(path)


def test_several_runners_and_their_docker_settings_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    docker = DockerSettings(memory="1g", volumes=("/srv/cache:/cache:ro",), cap_add=())
    second = replace(CONFIG, id=8, executor="docker", docker=docker)
    save(path, CONFIG, second)
    assert load(path) == (CONFIG, second)


def test_the_file_is_deleted_with_its_last_runner(tmp_path: Path) -> None:
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
        {"allowed_networks": ["10.0.0.0/33"]},
    ],
)
def test_unsafe_or_invalid_docker_settings_are_rejected(tmp_path: Path, docker: dict[str, object]) -> None:
    path = tmp_path / "agent.json"
    save(path, CONFIG)
    runner = json.loads(path.read_text())["runners"][0]
    path.write_text(json.dumps({"runners": [runner | {"docker": {"socket": "/run/docker.sock"} | docker}]}))
    with pytest.raises(ConfigError, match="cannot be used"):
        load(path)


def test_limits_are_saved_and_negative_ones_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    limited = replace(CONFIG, archives=ArchiveLimits(entries=5), limits=ProcessLimits(processes=7, file_megabytes=2))
    save(path, limited)
    assert load(path) == (limited,)
    assert limited.limits.by_name == {"NPROC": 7, "FSIZE": 2 * 1024 * 1024}
    for group, name in (("archives", "entries"), ("limits", "processes"), ("job_limits", "memory_megabytes")):
        path.write_text(json.dumps(asdict(CONFIG) | {group: {name: -1}}))
        with pytest.raises(ConfigError, match=f"{group}.{name} must be at least 0"):
            load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"job_users": ["a"], "concurrency": 2}, "one user for each of 2 concurrent jobs"),
        ({"job_users": ["a"], "executor": "docker"}, "for the executor shell"),
        ({"git_config": ["http.proxy"]}, "git_config must have settings"),
        ({"mirror_megabytes": -1}, "at least 0"),
    ],
)
def test_settings_that_would_not_isolate_or_configure_jobs_are_rejected(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(asdict(CONFIG) | {"executor": "shell"} | changes))
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_git_settings_are_split_at_the_first_equals_sign() -> None:
    config = replace(CONFIG, git_config=("http.proxy=http://proxy", "url.a/.insteadOf=https://b/?x=y"))
    assert config.git_settings == {"http.proxy": "http://proxy", "url.a/.insteadOf": "https://b/?x=y"}


def test_settings_that_contradict_the_options_are_refused_before_the_registration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one user for each of 2 concurrent jobs"):
        register(
            "http://server.invalid",
            "registration-token",
            path=tmp_path / "agent.json",
            executor="shell",
            concurrency=2,
            settings={"job_users": ["a"]},
        )
