from collections.abc import AsyncIterator

import pytest

from tests.support.in_process.build_system import BuildSystem, build_system


@pytest.fixture(scope="package")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    async with build_system(tmp_path_factory.mktemp("whole")) as whole:
        yield whole
