"""Fixture: all services and a gateway, used through Free Commit's API."""

from collections.abc import AsyncIterator

import pytest

from tests.support.in_process.free_commit_system import (
    FreeCommitSystem,
    free_commit_system,
)
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def free_commit(servers: Servers) -> AsyncIterator[FreeCommitSystem]:
    async with free_commit_system(servers) as stage:
        yield stage
