"""Removal of names from recorded events."""

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from contracts.builds import BuildFinished
from libs.documents import Document
from libs.privacy import redaction
from libs.privacy.redaction import empty_recorded_names, update_commits


def commit(number: int, actor: Document, **data: object) -> Document:
    event = {"name": BuildFinished.wire_name, "version": 1, "data": data}
    return {
        "_id": str(number),
        "stream": f"build-{number // 2}",
        "version": number % 2 + 1,
        "actor": actor,
        "events": [event],
    }


async def test_names_of_an_earlier_release_are_removed_in_batches(
    database: AsyncDatabase[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redaction, "BATCH_SIZE", 2)
    runner, user = {"id": 0, "name": "runner gloin"}, {"id": 7, "name": "ada"}
    named = [
        commit(number, user if number % 2 else runner, initiator_name="ada", initiator_id=7) for number in range(5)
    ]
    await database["commits"].insert_many(named)
    assert await empty_recorded_names(database, "builds") == 5
    stored = await database["commits"].find().to_list()
    assert {(c["actor"]["id"], c["actor"]["name"]) for c in stored} == {(0, "runner gloin"), (7, "")}
    assert {(c["events"][0]["data"]["initiator_name"], c["events"][0]["data"]["initiator_id"]) for c in stored} == {
        ("", 7)
    }
    assert await empty_recorded_names(database, "builds") == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
async def test_chunks_contain_every_commit(
    database: AsyncDatabase[Document], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(redaction, "CHUNK_SIZE", 2)
    commits = database["commits"]
    for number in range(count):
        await commits.insert_one(commit(number, {"id": 0, "name": "system"}, owner="ada", other="x"))
    change = {"$set": {"events.$[named].data.owner": ""}}
    await update_commits(commits, {"events.data.owner": "ada"}, change, [{"named.data.owner": "ada"}])
    assert await commits.count_documents({"events.data.owner": "", "events.data.other": "x"}) == count
