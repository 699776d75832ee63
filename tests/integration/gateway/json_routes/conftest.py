"""Fixtures: a gateway with fake services, whose received messages are cleared before each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.in_process.gateway_stage import GatewayStage, open_gateway_stage
from tests.support.infrastructure.servers import running_nats


@pytest.fixture(scope="package")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStage]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        async with open_gateway_stage(server.program.url) as running:
            yield running


@pytest.fixture(autouse=True)
def clear_received_messages(stage: GatewayStage) -> None:
    stage.services.received.clear()
