import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.agent.agent_runs import GIT_COMMAND
from tests.support.in_process.fake_gitlab import FakeGitLabServer, running_fake_gitlab


@pytest.fixture
async def gitlab() -> AsyncIterator[FakeGitLabServer]:
    async with running_fake_gitlab() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    (path / "greeting").write_text("good morning\n")
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT_COMMAND, *command], cwd=path, check=True)
    return path
