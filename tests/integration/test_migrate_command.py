"""The migration step as an operator runs it."""

from pathlib import Path

import pytest

from infra.local.servers import local_servers
from infra.migrate import migrate
from libs.settings import Settings, SettingsError


def test_more_copies_of_an_event_than_there_are_servers_is_one_clear_sentence(tmp_path: Path) -> None:
    with local_servers(tmp_path) as servers:
        settings = Settings(
            mongodb_url=servers.mongodb_url, nats_url=servers.nats_url, master_keys=(b"k" * 32,), stream_replicas=3
        )
        with pytest.raises(SettingsError, match="HEADRACE_STREAM_REPLICAS=3"):
            migrate(settings)
