"""The workspace folder and the environment of a job."""

import os
import subprocess
import sys
from pathlib import Path

from agent.execution.workspace import Workspace, inherited_environment, masked_values
from agent.protocol.job import parse_job


def test_a_job_inherits_only_allowed_environment_variables() -> None:
    own = {"PATH": "/bin", "HOME": "/home/a", "TERM": "xterm", "HEADRACE_REGISTRATION_TOKEN": "t", "AWS_SECRET": "s"}
    assert inherited_environment(own) == {"PATH": "/bin"}


def test_a_job_payload_cannot_move_the_workspace_or_write_outside_it(tmp_path: Path) -> None:
    variables = [{"key": "CI_PROJECT_DIR", "value": "/etc"}, {"key": "../../escape", "value": "x", "file": True}]
    workspace = Workspace(tmp_path / "job", parse_job({"id": 1, "token": "t", "variables": variables}))
    assert workspace.environment["CI_PROJECT_DIR"] == str(tmp_path / "job" / "checkout")
    assert workspace.invalid_names == ["../../escape"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "checkout",
        "home",
        "job",
        "private",
        "tmp",
        "transfers",
    ]


def test_an_ssh_key_file_ends_with_a_newline(tmp_path: Path) -> None:
    variables = [{"key": "HEADRACE_SSH_KEY", "value": "key", "file": True}]
    workspace = Workspace(tmp_path / "job", parse_job({"id": 1, "token": "t", "variables": variables}))
    assert Path(workspace.environment["HEADRACE_SSH_KEY"]).read_text() == "key\n"


def test_variables_that_are_not_raw_are_expanded(tmp_path: Path) -> None:
    variables = [
        {"key": "CACHE", "value": "${CI_PROJECT_DIR}/.cache/$$x$NOWHERE", "raw": False},
        {"key": "LITERAL", "value": "$CI_PROJECT_DIR", "raw": True},
        {"key": "BOTH", "value": "$LITERAL $LETTER"},
        {"key": "LETTER", "value": "$CI_PROJECT_DIR", "file": True},
    ]
    workspace = Workspace(tmp_path / "job", parse_job({"id": 1, "token": "t", "variables": variables}))
    environment = workspace.environment
    assert environment["CACHE"] == f"{tmp_path}/job/checkout/.cache/$x"
    assert environment["LITERAL"] == "$CI_PROJECT_DIR"
    assert environment["BOTH"] == f"$CI_PROJECT_DIR {environment['LETTER']}"
    assert Path(environment["LETTER"]).read_text() == "$CI_PROJECT_DIR"


WRITE = """
import sys
from pathlib import Path
from agent.protocol.job import parse_job
from agent.execution.workspace import Workspace
variables = [{"key": "BODY", "value": "\\u00e4\\r\\n", "file": True}]
Workspace(Path(sys.argv[1]), parse_job({"id": 1, "token": "t", "variables": variables}))
"""


def test_file_variables_are_written_as_utf8_in_any_locale(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-X", "utf8=0", "-c", WRITE, str(tmp_path / "job")]
    subprocess.run(command, env=ascii_only, check=True)
    assert (tmp_path / "job" / "private" / "BODY").read_bytes() == "\u00e4\r\n".encode()


def test_tokens_passwords_and_masked_values_are_masked_but_not_usernames() -> None:
    source = {"repo_url": "http://git:pw@host/r", "sha": "f" * 40}
    variables = [{"key": "A", "value": "masked-value", "masked": True}, {"key": "B", "value": "open"}]
    job = parse_job({"id": 1, "token": "job-token", "git_info": source, "variables": variables})
    assert set(masked_values(job)) == {"job-token", "git:pw", "pw", "masked-value"}
    bare = parse_job({"id": 1, "token": "job-token", "git_info": source | {"repo_url": "http://git@host/r"}})
    assert set(masked_values(bare)) == {"job-token"}
