"""A second agent, managed with `headrace agent`: registered, used and unregistered."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.support import read_stream_messages
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.running_stack import AGENT_SLOTS, HEADRACE_COMMAND, RunningStack
from tests.support.waiting import eventually


@pytest.fixture
def config(stack: RunningStack, tmp_path: Path) -> Iterator[Path]:
    """Register an agent and yield its configuration file. Unregister the agent after the test."""
    config = tmp_path / "agent" / "agent.json"
    token = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    register = (
        "agent",
        "register",
        "--description",
        "the second one",
        "--executor",
        "shell",
        "--tag",
        "fast",
        "--tag",
        "big",
    )
    result = stack.run_headrace(
        *register, "--run-untagged", "--config", str(config), "--url", stack.url, HEADRACE_REGISTRATION_TOKEN=token
    )
    assert "the second one" in result.stdout
    yield config
    stack.run_headrace("agent", "unregister", "--config", str(config))
    assert not config.exists()


@pytest.fixture
def agent(stack: RunningStack, config: Path) -> Iterator[None]:
    """Run the second agent. It must exit with status 0 on SIGTERM."""
    process = subprocess.Popen((*HEADRACE_COMMAND, "agent", "run", "--config", str(config)), env=dict(stack.environ))
    yield
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.usefixtures("agent")
async def test_a_second_agent_takes_jobs_when_the_first_is_full(
    stack: RunningStack, nats_client: Client, config: Path, tmp_path: Path
) -> None:
    assert "knows runner" in stack.run_headrace("agent", "verify", "--config", str(config)).stdout
    gate = Gate(tmp_path / "gate")
    project_id = stack.create_project(create_sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch_build(project_id) for _ in range(AGENT_SLOTS + 1)]
    for build in builds:
        stack.wait_until_running(build)
    runners = [entry["runner"] for entry in stack.admin.get("/developer/builds/executeds").json()]
    gate.open()
    assert [stack.wait_until_finished(build)["exit_code"] for build in builds] == [0] * len(builds)
    assert runners.count("the second one") == 1
    messages = [
        message for message in await read_stream_messages(nats_client, "runners") if b'"the second one"' in message.data
    ]
    [registered] = [message for message in messages if message.subject.endswith(".RunnerRegistered")]
    assert b'"fast"' in registered.data


async def test_an_unregistered_agent_is_unknown_to_the_server(
    stack: RunningStack, nats_client: Client, tmp_path: Path
) -> None:
    config = tmp_path / "agent.json"
    token = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    stack.run_headrace(
        "agent", "register", "--config", str(config), "--url", stack.url, HEADRACE_REGISTRATION_TOKEN=token
    )
    content = config.read_text()
    stack.run_headrace("agent", "unregister", "--config", str(config))
    config.write_text(content)
    config.chmod(0o600)
    refused = stack.run_headrace("agent", "verify", "--config", str(config), check=False)
    assert refused.returncode == 1
    assert "does not know" in refused.stderr

    async def is_deleted() -> bool:
        return any(
            message.subject.endswith(".RunnerDeleted") for message in await read_stream_messages(nats_client, "runners")
        )

    await eventually(is_deleted)


def test_a_wrong_registration_token_is_rejected(stack: RunningStack, tmp_path: Path) -> None:
    register = ("agent", "register", "--config", str(tmp_path / "agent.json"), "--url", stack.url)
    refused = stack.run_headrace(*register, check=False, HEADRACE_REGISTRATION_TOKEN="wrong")
    assert refused.returncode == 1
    assert "Error:" in refused.stderr
