"""Fixture: all services and a gateway, shared by the tests of GitFlic's runner routes."""

from collections.abc import AsyncIterator

import pytest

from tests.support.in_process.build_system import BuildSystem, build_system
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(servers, tmp_path_factory.mktemp("whole")) as whole:
        yield whole
