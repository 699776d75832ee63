"""The folder and the environment of a job."""

from pathlib import Path

from agent.job import parse
from agent.workspace import Workspace, base_environment, secrets


def test_only_the_named_part_of_the_agents_environment_is_inherited() -> None:
    own = {"PATH": "/bin", "HOME": "/home/a", "TERM": "xterm", "HEADRACE_REGISTRATION_TOKEN": "t", "AWS_SECRET": "s"}
    assert base_environment(own) == {"PATH": "/bin", "HOME": "/home/a"}


def test_a_payload_cannot_move_the_work_folder_or_write_outside_it(tmp_path: Path) -> None:
    variables = [{"key": "CI_PROJECT_DIR", "value": "/etc"}, {"key": "../../escape", "value": "x", "file": True}]
    workspace = Workspace(tmp_path / "job", parse({"id": 1, "token": "t", "variables": variables}))
    assert workspace.environment["CI_PROJECT_DIR"] == str(tmp_path / "job" / "checkout")
    assert workspace.unusable == ["../../escape"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkout", "job", "private"]


def test_an_ssh_key_gets_the_line_end_that_ssh_wants(tmp_path: Path) -> None:
    variables = [{"key": "HEADRACE_SSH_KEY", "value": "key", "file": True}]
    workspace = Workspace(tmp_path / "job", parse({"id": 1, "token": "t", "variables": variables}))
    assert Path(workspace.environment["HEADRACE_SSH_KEY"]).read_text() == "key\n"


def test_tokens_passwords_and_masked_values_are_secrets_and_a_bare_user_name_is_not() -> None:
    source = {"repo_url": "http://git:pw@host/r", "sha": "f" * 40}
    variables = [{"key": "A", "value": "masked-value", "masked": True}, {"key": "B", "value": "open"}]
    job = parse({"id": 1, "token": "job-token", "git_info": source, "variables": variables})
    assert set(secrets(job)) == {"job-token", "git:pw", "pw", "masked-value"}
    bare = parse({"id": 1, "token": "job-token", "git_info": source | {"repo_url": "http://git@host/r"}})
    assert set(secrets(bare)) == {"job-token"}
