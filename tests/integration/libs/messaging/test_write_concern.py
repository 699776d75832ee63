"""A replica set with an arbiter and a missing data node: no write can be acknowledged by a majority."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_program
from infra.local.process import Process
from libs.documents import Document
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from tests.support.waiting import eventually


def create_mongod(folder: Path) -> Process:
    data = DataFolder(folder)
    data.prepare()
    return Process(mongod_program(data))


@pytest.fixture
async def minority(tmp_path: Path) -> AsyncIterator[str]:
    """Run a primary and an arbiter that elected it. The third member never starts. The default write concern is 1."""
    primary, arbiter = create_mongod(tmp_path / "primary"), create_mongod(tmp_path / "arbiter")
    primary.start()
    arbiter.start()
    try:
        primary.wait_ready()
        async with AsyncMongoClient[Document](primary.program.url) as client:
            await client.admin.command("setDefaultRWConcern", 1, defaultWriteConcern={"w": 1})
            config = (await client.admin.command("replSetGetConfig"))["config"]
            arbiter_host = arbiter.program.address.removeprefix("mongodb://")
            others = [
                {"_id": 1, "host": arbiter_host, "arbiterOnly": True},
                {"_id": 2, "host": f"127.0.0.1:{ports.find_free_port()}", "priority": 0},
            ]
            new_config = {**config, "version": config["version"] + 1, "members": [*config["members"], *others]}
            await client.admin.command("replSetReconfig", new_config, force=True)

            async def is_elected_with_arbiter() -> bool:
                members = (await client.admin.command("replSetGetStatus"))["members"]
                return [member["stateStr"] for member in members][:2] == ["PRIMARY", "ARBITER"]

            await eventually(is_elected_with_arbiter)
        yield primary.program.url
    finally:
        primary.kill()
        arbiter.kill()


async def test_a_transaction_without_its_own_write_concern_waits_for_a_majority(minority: str) -> None:
    settings = Settings(mongodb_url=minority)

    async def body(session: AsyncClientSession) -> None:
        await collection.insert_one({"x": 1}, session=session)

    async with create_mongo_client(settings, "test") as client, AsyncMongoClient[Document](minority) as plain_client:
        await plain_client[settings.database("builds")]["attempts"].insert_one({"x": 0})  # needs one node only
        collection = get_database(client, settings, "builds")["attempts"]
        async with client.start_session() as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await session.with_transaction(body)
