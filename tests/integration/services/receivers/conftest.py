"""The stage of the tests of receivers, and a receiver."""

from collections.abc import AsyncIterator, Iterator

import pytest

from libs.service.declaration import Service
from services.notifications.app import create_service
from tests.support.external.notification_receiver import NotificationReceiver, notification_receiver
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers) as stage:
        await stage.migrate(Service("builds", categories=()), create_service())
        yield stage


@pytest.fixture
def receiver() -> Iterator[NotificationReceiver]:
    with notification_receiver() as running:
        yield running
