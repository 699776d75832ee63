"""Functions that run the agent against a fake GitLab server: job payloads, configuration and process checks."""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.runner import run
from tests.support.in_process.fake_gitlab import FakeGitLabServer, read_command_lines

TIMEOUT_SECONDS = 60.0
GIT_COMMAND = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]


def head_sha(repository: Path) -> str:
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()


def create_repository(path: Path) -> Path:
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT_COMMAND, *command], cwd=path, check=True)
    return path


def job_payload(number: int, repository: Path, *script: str, **fields: Any) -> dict[str, Any]:
    source = {
        "repo_url": str(repository),
        "sha": head_sha(repository),
        "ref": "main",
        "refspecs": ["+refs/heads/main:refs/remotes/origin/main"],
        "depth": 1,
    }
    steps = [{"name": "script", "script": list(script), "when": "on_success"}]
    return {"id": number, "token": f"token-of-{number}", "git_info": source, "variables": [], "steps": steps} | fields


def job_variable(key: str, value: str, **flags: bool) -> dict[str, Any]:
    return {"key": key, "value": value, **flags}


def agent_config(
    server: FakeGitLabServer, tmp_path: Path, concurrency: int = 1, shutdown_timeout: float = 0.0
) -> Config:
    return Config(
        url=server.url,
        token="runner-token",
        id=7,
        name="tester",
        system_id="s_1",
        builds_dir=str(tmp_path / "builds"),
        executor="shell",
        concurrency=concurrency,
        grace_seconds=shutdown_timeout,
    )


@contextlib.asynccontextmanager
async def running_agent(config: Config) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(config, stop=stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


def find_sleeping_processes(seconds: str) -> list[int]:
    """Find processes that run `sleep` with this argument, and the shells whose command line contains the call."""
    sleeping = re.compile(rf"sleep[ \0]{seconds}\b")
    return [process for process, line in read_command_lines().items() if sleeping.search(line)]
