"""The environment variable STACK chooses the servers that tests use."""

import os
import subprocess
import sys

import pytest

from tests.support.infrastructure import servers

NOWHERE = "unix:///nowhere/docker.sock"


def test_embedded_servers_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STACK", "embedded")
    assert servers.describe_servers().startswith("servers: the embedded mongod and nats-server")


def test_an_unknown_test_stack_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STACK", "swarm")
    with pytest.raises(ValueError, match="STACK is embedded or containers, not 'swarm'"):
        servers.describe_servers()


def test_an_unavailable_test_stack_ends_the_run_with_one_error_line() -> None:
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/unit/libs/test_tasks.py")
    environment = os.environ | {"STACK": "containers", "DOCKER_HOST": NOWHERE}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "STACK=containers, but no Docker engine answers" in done.stderr
