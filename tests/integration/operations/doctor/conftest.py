from collections.abc import AsyncIterator

import pytest

from tests.integration.operations.doctor.examined_system import ExaminedSystem
from tests.support.in_process.build_system import build_system


@pytest.fixture(scope="package")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExaminedSystem]:
    async with build_system(
        tmp_path_factory.mktemp("doctor"), long_poll_seconds=0.5, runner_offline_seconds=1e6
    ) as running:
        assert (await (await running.register_runner()).request_job()).status_code == 204
        yield ExaminedSystem(running.settings.model_copy(update={"url": str(running.http.base_url)}))
