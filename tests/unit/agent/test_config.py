"""The agent's configuration file."""

import stat
from pathlib import Path

import pytest

from agent.config import Config, ConfigError, load, save

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
