"""Fixtures: an installation with sample documents, an empty installation, and a backup of the first one."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from infra.backup import backup_commands
from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.integration.operations.backup.installations import Installation, sample_documents, set_environment
from tests.support.infrastructure.servers import Servers


@pytest.fixture
def installations(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Installation, Installation]]:
    """Yield an installation with sample documents and an empty installation."""
    source, target = (Installation(servers, f"test-{uuid4().hex[:8]}") for _ in range(2))
    set_environment(monkeypatch, source.environ)
    source.insert(sample_documents(datetime.now(UTC)))
    asyncio.run(delete_all_streams(source.settings))
    yield source, target
    asyncio.run(delete_all_streams(source.settings))
    source.drop_databases()
    target.drop_databases()


async def delete_all_streams(settings: Settings) -> None:
    nats = await connect(settings, "test")
    for stream in await nats.jetstream().streams_info():
        await nats.jetstream().delete_stream(str(stream.config.name))
    await nats.close()


@pytest.fixture
def backup(installations: tuple[Installation, Installation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Back up the first installation. Then set the environment of the empty one. Return the path of the backup."""
    file = str(tmp_path / "today.backup")
    backup_commands.backup(file, [])
    set_environment(monkeypatch, installations[1].environ)
    return file
