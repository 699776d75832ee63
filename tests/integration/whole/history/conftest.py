"""Fixture: all services and a gateway, shared by the history tests."""

from collections.abc import AsyncIterator

import pytest

from tests.support.in_process.running_system import RunningSystem, running_system
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def system(servers: Servers) -> AsyncIterator[RunningSystem]:
    async with running_system(servers, local_repositories=True) as running:
        yield running
