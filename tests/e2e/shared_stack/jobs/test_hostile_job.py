"""A job that runs as its own user on the machine of a stack and looks for the stack's secrets and services."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.external.repositories import commit_files, create_sample_repository
from tests.support.stacks.running_stack import HEADRACE_COMMAND, RunningStack

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="job users need an agent that runs as root, on Linux"
)
NATS_REQUEST = """import socket
connection = socket.create_connection(({host!r}, {port}), 10)
connection.sendall(b"CONNECT {{}}\\r\\nPING\\r\\n")
print(*connection.makefile("rb"))
"""
ENVIRONMENTS = "for p in /proc/[0-9]*; do [ $(stat -c %u $p) = $(id -u) ] || cat $p/environ; done"


@pytest.fixture
def agent_folder(stack: RunningStack) -> Iterator[Path]:
    """Run an agent with a job user. Yield the agent's folder, which all users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-hostile-job-", dir="/tmp"))
    folder.chmod(0o711)
    config = folder / "agent.json"
    token = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    stack.run_headrace(
        *("agent", "register", "--executor", "shell", "--tag", "separated", "--config", str(config)),
        *("--url", stack.url),
        HEADRACE_REGISTRATION_TOKEN=token,
    )
    content = json.loads(config.read_text())
    content["runners"][0]["job_users"] = [str(100_000 + 4 * os.getpid() + 3)]
    config.write_text(json.dumps(content))
    agent = subprocess.Popen((*HEADRACE_COMMAND, "agent", "run", "--config", str(config)), env=dict(stack.environ))
    yield folder
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0
    stack.run_headrace("agent", "unregister", "--config", str(config))
    shutil.rmtree(folder)


def test_a_job_user_finds_no_secrets_of_the_stack_and_no_login_at_nats(
    stack: RunningStack, agent_folder: Path, tmp_path: Path
) -> None:
    nats = urlsplit(stack.nats_url)
    nats_request = NATS_REQUEST.format(host=nats.hostname, port=nats.port)
    script = (
        "echo uid $(id -u)",
        f"ls {stack.data}/* || echo no-folder",
        f"cat {stack.data}/secrets/* {agent_folder}/agent.json || echo no-files",
        f"{ENVIRONMENTS} | grep . || echo no-environment",
        "python3 nats.py",
    )
    pipeline = {"attack": {"tags": ["separated"], "script": list(script)}}
    repository = create_sample_repository(tmp_path / "repository")
    commit_files(repository, {".gitlab-ci.yml": json.dumps(pipeline), "nats.py": nats_request})
    project = stack.create_project(repository, spec_file_path="/.gitlab-ci.yml")
    build = stack.run_build(project)
    log = "".join(stack.read_log(build["id"]).values())
    expected = ["no-folder", "no-files", "no-environment", "Authorization Violation"]
    assert [text for text in expected if text in log] == expected, log
    for secret in (stack.data / "secrets").iterdir():
        assert secret.read_text(errors="replace").strip() not in log
