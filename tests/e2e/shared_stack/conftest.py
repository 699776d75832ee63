"""One stack with two replicas of every service, which stops after the last test of the folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import AGENT_SLOTS, RunningStack, running_stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("e2e") / "data"
    with running_stack(folder, replicas=2, slots=AGENT_SLOTS, environment=mail_server.environment) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture
async def nats_client(stack: RunningStack) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=stack.nats_url), "e2e")
    yield client
    await client.close()


@pytest.fixture(scope="package")
def good_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_sample_repository(tmp_path_factory.mktemp("good") / "repository")


@pytest.fixture(scope="package")
def good_project(stack: RunningStack, good_repository: Path) -> int:
    return stack.create_project(good_repository)
