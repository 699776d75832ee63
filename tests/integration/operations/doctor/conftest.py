"""Fixtures: servers and a running system for `headrace admin doctor`."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.operations.doctor.examined_system import ExaminedSystem
from tests.support.in_process.build_system import build_system
from tests.support.infrastructure.servers import Servers, running_servers


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture(scope="package")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExaminedSystem]:
    async with build_system(
        servers, tmp_path_factory.mktemp("doctor"), long_poll_seconds=0.5, runner_offline_seconds=1e6
    ) as running:
        assert (await (await running.register_runner()).request_job()).status_code == 204
        yield ExaminedSystem(running.settings.model_copy(update={"url": str(running.http.base_url)}))
