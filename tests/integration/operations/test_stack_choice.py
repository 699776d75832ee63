"""The environment variable STACK chooses the servers that tests use."""

import os
import subprocess
import sys

import pytest

NOWHERE = "unix:///nowhere/docker.sock"


def run_with(**variables: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/unit/libs/test_tasks.py")
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=60)


def test_by_default_tests_use_embedded_servers_and_say_so() -> None:
    assert "servers: the embedded mongod and nats-server" in run_with(STACK="", DOCKER_HOST=NOWHERE).stdout


@pytest.mark.parametrize(
    ("choice", "message"),
    [("containers", "STACK=containers, but no Docker engine answers"), ("swarm", "STACK is embedded or containers")],
)
def test_an_unavailable_test_stack_ends_the_run_with_one_error_line(choice: str, message: str) -> None:
    done = run_with(STACK=choice, DOCKER_HOST=NOWHERE)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
