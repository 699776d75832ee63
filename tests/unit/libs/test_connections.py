"""The write concern of a process's MongoDB client."""

import pytest

from libs.service.connections import create_mongo_client
from libs.settings import Settings

URL = "mongodb://127.0.0.1:1/?replicaSet=rs0"


@pytest.mark.parametrize(
    ("options", "is_journaled"),
    [("", True), ("&journal=true", True), ("&w=1", True), ("&journal=false", False)],
    ids=["default", "journal", "one server", "no journal"],
)
async def test_a_write_waits_for_a_majority_and_the_journal(options: str, is_journaled: bool) -> None:
    async with create_mongo_client(Settings(mongodb_url=URL + options), "test") as client:
        assert client.write_concern.document == {"w": "majority", "j": is_journaled}
