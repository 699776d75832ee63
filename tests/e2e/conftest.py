"""One stack with two replicas of everything, for all tests that leave it as they found it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from libs.messaging import connect
from libs.settings import Settings
from tests.support.post_office import PostOffice, post_office
from tests.support.repositories import sample_repository
from tests.support.stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def mails() -> Iterator[PostOffice]:
    with post_office() as office:
        yield office


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, mails: PostOffice) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("e2e") / "data", environment=mails.environment) as stack:
        yield stack
        assert stack.complaints() == []


@pytest.fixture
async def nats(stack: RunningStack) -> AsyncIterator[Client]:
    client = await connect(Settings(nats_url=stack.nats_url), "e2e")
    yield client
    await client.close()


@pytest.fixture(scope="session")
def good_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_repository(tmp_path_factory.mktemp("good") / "repository")


@pytest.fixture(scope="session")
def good_project(stack: RunningStack, good_repository: Path) -> int:
    """A project whose builds succeed."""
    return stack.project(good_repository)
