"""How the agent stops: shutdown timeout, signals, kill -9 and ephemeral runners."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from agent import config as configuration
from tests.integration.agent.agent_runs import (
    TIMEOUT_SECONDS,
    agent_config,
    find_sleeping_processes,
    job_payload,
    running_agent,
)
from tests.support.in_process.fake_gitlab import FakeGitLabServer, read_command_lines
from tests.support.waiting import eventually


async def test_a_stopping_agent_stops_its_jobs_and_reports_them_as_interrupted(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    features = {"failure_reasons": ["runner_interrupted"]}
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "sleep 7005 & sleep 7005", features=features))
    async with running_agent(agent_config(gitlab, tmp_path)) as stop:
        await eventually(lambda: find_sleeping_processes("7005"))
        stop.set()
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "runner_interrupted")
    assert find_sleeping_processes("7005") == []


async def test_a_stopping_agent_lets_a_job_finish_within_the_shutdown_timeout(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "echo up", f"until [ -e {go_file} ]; do sleep 0.05; done")
    )
    async with running_agent(agent_config(gitlab, tmp_path, shutdown_timeout=TIMEOUT_SECONDS)) as stop:
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        stop.set()
        go_file.touch()
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"


async def test_a_killed_agent_leaves_no_processes_and_a_new_agent_takes_jobs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path))
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    escape = "(env -i setsid sh -c 'env -i setsid sleep 7006 & exit' &)"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, f"sleep 7006 & setsid -f sleep 7006; {escape}; env -i sleep 7006")
    )
    agent = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await eventually(lambda: sum("sleep\x007006" in line for line in read_command_lines().values()) == 4)
    finally:
        agent.kill()
        agent.wait()
    await eventually(lambda: find_sleeping_processes("7006") == [])
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
    successor = await asyncio.create_subprocess_exec(*command, "--once", stderr=asyncio.subprocess.DEVNULL)
    assert await successor.wait() == 0
    assert gitlab.state_reports[2][-1]["state"] == "success"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_sigterm_stops_the_agent_command_with_exit_status_0(gitlab: FakeGitLabServer, tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path))
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    assert b"requests jobs" in await agent.stderr.readline()
    agent.send_signal(signal.SIGTERM)
    assert await agent.wait() == 0
    assert b"stopped" in await agent.stderr.read()


async def test_a_stopping_ephemeral_agent_finishes_its_pending_poll_and_unregisters(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(path, agent_config(gitlab, tmp_path, shutdown_timeout=TIMEOUT_SECONDS))
    gitlab.runners["runner-token"] = {}
    command = [
        sys.executable,
        "-c",
        "from agent.cli import app; app()",
        "run",
        "--ephemeral",
        "--config",
        str(path),
    ]
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await gitlab.wait_until(lambda: gitlab.job_request_count)
    agent.send_signal(signal.SIGTERM)
    while b"no more jobs" not in await agent.stderr.readline():
        pass
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting"))
    assert await agent.wait() == 0
    assert gitlab.state_reports[1][-1]["state"] == "success"
    assert gitlab.runners == {}
    assert not path.exists()


async def test_a_second_sigterm_stops_an_agent_that_waits_for_its_jobs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    path = tmp_path / "agent.json"
    configuration.save(
        path, agent_config(gitlab, tmp_path, shutdown_timeout=600), agent_config(gitlab, tmp_path, shutdown_timeout=600)
    )
    command = [sys.executable, "-c", "from agent.cli import app; app()", "run", "--config", str(path)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo up; sleep 7008"))
    agent = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr
    await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
    agent.send_signal(signal.SIGTERM)
    while b"waiting up to" not in await agent.stderr.readline():
        pass
    agent.send_signal(signal.SIGTERM)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert await agent.wait() == 0
    assert find_sleeping_processes("7008") == []
    assert list((tmp_path / "builds").iterdir()) == []
