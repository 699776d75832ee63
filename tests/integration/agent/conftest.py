"""Fixtures: a fake GitLab server and a sample repository."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.agent.agent_runs import create_repository
from tests.support.in_process.fake_gitlab import FakeGitLabServer, running_fake_gitlab


@pytest.fixture
async def gitlab() -> AsyncIterator[FakeGitLabServer]:
    async with running_fake_gitlab() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return create_repository(tmp_path / "repository")
