"""An agent that an operator adds by the command line: registers, works, and is taken off again."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.support import eventually, stored
from tests.support.repositories import Gate, sample_repository
from tests.support.stack import HEADRACE, RunningStack

SLOTS = 4  # of the stack's own agent


@pytest.fixture
def config(stack: RunningStack, tmp_path: Path) -> Iterator[Path]:
    """The file of an agent that is registered while the test runs."""
    config = tmp_path / "agent" / "agent.json"
    token = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    register = ("agent", "register", "--description", "the second one", "--tag", "fast", "--tag", "big")
    done = stack.headrace(
        *register, "--run-untagged", "--config", str(config), "--url", stack.url, HEADRACE_REGISTRATION_TOKEN=token
    )
    assert "the second one" in done.stdout
    yield config
    stack.headrace("agent", "unregister", "--config", str(config))
    assert not config.exists()


@pytest.fixture
def agent(stack: RunningStack, config: Path) -> Iterator[None]:
    """Runs until it is told to leave, and leaves in good order."""
    process = subprocess.Popen((*HEADRACE, "agent", "run", "--config", str(config)), env=dict(stack.environ))
    yield
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.mark.usefixtures("agent")
async def test_a_second_agent_takes_what_the_first_one_has_no_slot_for(
    stack: RunningStack, nats: Client, config: Path, tmp_path: Path
) -> None:
    assert "knows runner" in stack.headrace("agent", "verify", "--config", str(config)).stdout
    gate = Gate(tmp_path / "gate")
    project_id = stack.project(sample_repository(tmp_path / "repository", {"build": gate.script}))
    builds = [stack.launch(project_id) for _ in range(SLOTS + 1)]
    for build in builds:
        stack.running(build)
    runners = [one["runner"] for one in stack.admin.get("/developer/builds/executeds").json()]
    gate.open()
    assert [stack.finished(build)["exit_code"] for build in builds] == [0] * len(builds)
    assert runners.count("the second one") == 1
    told = [one for one in await stored(nats, "runners") if b'"the second one"' in one.data]
    [registered] = [one for one in told if one.subject.endswith(".RunnerRegistered")]
    assert b'"fast"' in registered.data


async def test_an_agent_that_was_taken_off_is_known_no_more(stack: RunningStack, nats: Client, tmp_path: Path) -> None:
    config = tmp_path / "agent.json"
    token = stack.admin.get("/admin/runners/registration-info").json()["registrationToken"]
    stack.headrace("agent", "register", "--config", str(config), "--url", stack.url, HEADRACE_REGISTRATION_TOKEN=token)
    kept = config.read_text()
    stack.headrace("agent", "unregister", "--config", str(config))
    config.write_text(kept)
    config.chmod(0o600)
    refused = stack.headrace("agent", "verify", "--config", str(config), check=False)
    assert refused.returncode == 1
    assert "does not know" in refused.stderr

    async def is_deleted() -> bool:
        return any(one.subject.endswith(".RunnerDeleted") for one in await stored(nats, "runners"))

    await eventually(is_deleted)


def test_a_wrong_registration_token_is_refused_in_words(stack: RunningStack, tmp_path: Path) -> None:
    register = ("agent", "register", "--config", str(tmp_path / "agent.json"), "--url", stack.url)
    refused = stack.headrace(*register, check=False, HEADRACE_REGISTRATION_TOKEN="wrong")
    assert refused.returncode == 1
    assert "Error:" in refused.stderr
