"""`headrace server migrate` as an operator runs it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.migration import migrate
from libs.settings import Settings, SettingsError
from tests.support.infrastructure.servers import Servers, running_servers
from tests.support.waiting import wait_until

LONG_WAIT_SECONDS = 600.0  # for commands that must not give up during a test


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(tmp_path_factory.mktemp("servers"), journaled=True) as servers:
        yield servers


@pytest.fixture
def settings(servers: Servers) -> Settings:
    return Settings(
        mongodb_url=servers.mongodb_url,
        nats_url=servers.nats_url,
        master_keys=(b"k" * 32,),
        wait_seconds=LONG_WAIT_SECONDS,
    )


def test_migrating_with_more_stream_replicas_than_servers_is_one_error_line(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_STREAM_REPLICAS=3"):
        migrate(settings.model_copy(update={"stream_replicas": 3}))


def test_migrating_waits_for_unreachable_servers_and_says_so(
    servers: Servers, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ""

    def is_printed(sentence: str) -> bool:
        nonlocal output
        output += capsys.readouterr().err
        return sentence in output

    servers.nats.kill()
    servers.mongod.kill()
    with ThreadPoolExecutor() as pool:
        migrated = pool.submit(migrate, settings)
        wait_until(lambda: is_printed("headrace: NATS does not respond. Waiting up to 600 seconds.\n"))
        servers.nats.start()
        wait_until(lambda: is_printed("headrace: MongoDB does not respond or has no primary. Waiting up to"))
        servers.mongod.start()
        assert migrated.result(60) is None
    assert "consumer builds-planner of stream builds in place" in capsys.readouterr().out


def test_migrating_does_not_wait_longer_than_configured(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^NATS does not respond\.$"):
        migrate(settings.model_copy(update={"nats_url": "nats://127.0.0.1:9", "wait_seconds": 0}))


def test_migrating_does_not_retry_a_login_rejected_by_nats(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^NATS rejects the login"):
        migrate(settings.model_copy(update={"nats_url": settings.nats_url.replace("@", "wrong@")}))


def test_migrating_does_not_retry_a_login_rejected_by_mongodb(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"^MongoDB rejects the login in HEADRACE_MONGODB_URL.$"):
        migrate(settings.model_copy(update={"mongodb_url": settings.mongodb_url.replace("://", "://unknown:wrong@")}))
