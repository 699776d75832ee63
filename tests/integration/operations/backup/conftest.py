"""Fixtures: two installations, and a backup of the first one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.backup import backup_commands
from tests.integration.operations.backup.installations import Installation, set_environment, two_installations
from tests.support.infrastructure.servers import Servers


@pytest.fixture
def installations(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Installation, Installation]]:
    with two_installations(servers, monkeypatch) as pair:
        yield pair


@pytest.fixture
def backup(installations: tuple[Installation, Installation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Back up the first installation, and return the path of the backup. The environment then names the second one."""
    file = str(tmp_path / "today.backup")
    backup_commands.backup(file, [])
    set_environment(monkeypatch, installations[1].environ)
    return file
