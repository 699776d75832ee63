"""Fixture: the builds and projects services, shared by the pipeline tests."""

from collections.abc import AsyncIterator

import pytest

from tests.support.external.repositories import create_sample_repository
from tests.support.in_process.build_stage import BuildStage, build_stage
from tests.support.infrastructure.servers import Servers


@pytest.fixture(scope="package")
async def stage(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildStage]:
    folder = tmp_path_factory.mktemp("site")
    async with build_stage(servers, folder, create_sample_repository(folder / "repository")) as running:
        yield running
