"""The migration step as an operator runs it."""

from pathlib import Path

import pytest

from infra.migrate import migrate
from libs.settings import Settings, SettingsError
from tests.support.servers import servers_in


def test_more_copies_of_an_event_than_there_are_servers_is_one_clear_sentence(tmp_path: Path) -> None:
    with servers_in(tmp_path) as servers:
        settings = Settings(
            mongodb_url=servers.mongodb_url, nats_url=servers.nats_url, master_keys=(b"k" * 32,), stream_replicas=3
        )
        with pytest.raises(SettingsError, match="HEADRACE_STREAM_REPLICAS=3"):
            migrate(settings)
