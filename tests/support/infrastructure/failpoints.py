"""A mongod with fail points, which cause errors that otherwise occur only during a failover."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient

from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_program
from infra.local.process import Process

FAULTY_APP_NAME = "headrace-faulty"  # fail points affect clients with this application name only
LOST_RESPONSE = {"writeConcernError": {"code": 91, "errmsg": "executed, but the answer is lost"}}
BLOCKED_CONNECTION = {"blockConnection": True, "blockTimeMS": 5_000}


@contextmanager
def mongod_with_failpoints(folder: Path) -> Iterator[str]:
    """Run a mongod that accepts fail points. Yield its URL."""
    data = DataFolder(folder)
    data.prepare()
    program = mongod_program(data)
    server = Process(replace(program, argv=(*program.argv, "--setParameter", "enableTestCommands=1")))
    server.start()
    try:
        server.wait_ready()
        yield program.url
    finally:
        server.kill()


@asynccontextmanager
async def failing_commands(
    client: AsyncMongoClient[Any], commands: Sequence[str], **failure: Any
) -> AsyncIterator[None]:
    """Make these commands fail during the block, for clients with the application name FAULTY_APP_NAME."""
    data = {"failCommands": list(commands), "appName": FAULTY_APP_NAME, **failure}
    await client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
    try:
        yield
    finally:
        await client.admin.command("configureFailPoint", "failCommand", mode="off")
