"""Hooks and fixtures of all tests.

A pytest worker starts one mongod and one nats-server when a test first needs them. The fixture `settings` gives a test
databases of its own, which `mongo_client` drops. The fixture `bus` deletes all streams after a test.
"""

import gc
import os
import random
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import nullcontext
from uuid import uuid4

import hypothesis
import pytest
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from xdist.remote import Producer

from libs.documents import Document
from libs.messaging.nats_connection import connect
from libs.service.connections import create_mongo_client
from libs.settings import Settings
from tests.support import scheduling
from tests.support.infrastructure.memory_folder import memory_folder
from tests.support.infrastructure.servers import STACK, Servers, describe_servers, running_servers
from tests.support.waiting import WITHIN_SECONDS

NIGHTLY = bool(os.environ.get("HEADRACE_NIGHTLY"))
SERVER_DESCRIPTION = pytest.StashKey[str]()
# No deadline: how long an example takes depends on the machine, not on the code.
hypothesis.settings.register_profile(
    "untimed", deadline=None, derandomize=False, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("thorough", hypothesis.settings.get_profile("untimed"), max_examples=2000)
# For mutation tests, which need to know only whether there is a failing example.
hypothesis.settings.register_profile(
    "unshrunk",
    hypothesis.settings.get_profile("untimed"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    database=None,
)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(tryfirst=True)  # must run before Hypothesis reads --hypothesis-seed
def pytest_configure(config: pytest.Config) -> None:
    if config.option.hypothesis_seed is None:  # pytest workers receive the options, so all use the same seed
        config.option.hypothesis_seed = str(random.randrange(2**32))  # noqa: S311
    isolate_from_network(config)
    scheduling.limit_ports(config)
    scheduling.record_durations(config)
    try:
        config.stash[SERVER_DESCRIPTION] = describe_servers()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if STACK == "containers":
        # Docker accepts and drops connections for a server that is still starting. The clients leave
        # such a socket to the garbage collector, and pytest would report it.
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


def isolate_from_network(config: pytest.Config) -> None:
    """Hide the machine's proxies and certificates from HTTP clients of the tests and of the processes they start.

    All servers are local, and reading the certificates takes 20 ms for each client.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    folder = tempfile.TemporaryDirectory(prefix="no-certificates-")
    config.add_cleanup(folder.cleanup)
    os.environ["SSL_CERT_DIR"] = folder.name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not NIGHTLY:
        for item in items:
            if item.get_closest_marker("nightly"):
                item.add_marker(pytest.mark.skip(reason="a long form: make nightly"))
    scheduling.sort_longest_first(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude the imported modules and collected tests from garbage collection: they live until the end of the run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> scheduling.GroupScheduling:
    return scheduling.make_scheduler(config, log)


def described(config: pytest.Config) -> list[str]:
    seed = config.option.hypothesis_seed
    return [config.stash[SERVER_DESCRIPTION], f"random inputs: seed {seed}; the same again: make test SEED={seed}"]


def pytest_report_header(config: pytest.Config) -> list[str]:
    return described(config)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.get_verbosity() < 0:  # pytest -q prints no header
        for line in described(config):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        memory_folder(folder) if STACK == "embedded" else nullcontext(folder) as folder,
        running_servers(folder) as servers,
    ):
        yield servers


@pytest.fixture
def settings(servers: Servers) -> Settings:
    return Settings(
        mongodb_url=servers.mongodb_url,
        nats_url=servers.nats_url,
        master_keys=(bytes(32),),
        database_prefix=f"test-{uuid4().hex[:8]}",
        instance="replica-1",
    )


@pytest.fixture
async def mongo_client(settings: Settings) -> AsyncIterator[AsyncMongoClient[Document]]:
    async with create_mongo_client(settings, "test") as client:
        yield client
        for name in await client.list_database_names():
            if name.startswith(settings.database_prefix):
                await client.drop_database(name)


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[Client]:
    client = await connect(settings, "test")
    yield client
    manager = client.jetstream(timeout=WITHIN_SECONDS)
    for stream in await manager.streams_info():
        await manager.delete_stream(str(stream.config.name))
    await client.close()
