"""The replica set of the embedded MongoDB. It has one member."""

import time
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.local.mongod import REPLICA_SET
from infra.local.process import OperatorError

NOT_YET_INITIALIZED = 94
ELECTION_TIMEOUT_SECONDS = 60.0


def wait_until_primary(port: int) -> None:
    deadline = time.monotonic() + ELECTION_TIMEOUT_SECONDS
    while not become_primary(port):
        if time.monotonic() > deadline:
            raise OperatorError(f"mongod on port {port} did not become primary in {ELECTION_TIMEOUT_SECONDS:g} s.")
        time.sleep(0.02)


def become_primary(port: int) -> bool:
    """Initiate or reconfigure the replica set if needed. Return whether mongod is primary. Call until it is."""
    with suppress(PyMongoError), _connect(port) as client:  # suppressed while mongod starts
        if client.admin.command("hello")["isWritablePrimary"]:
            return True
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code == NOT_YET_INITIALIZED:
                settings = {"electionTimeoutMillis": 1000}
                client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member], "settings": settings})
        else:
            if config["members"][0]["host"] != member["host"]:
                # a single member cannot vote for a new port, so the change must be forced
                moved = {**config, "version": config["version"] + 1, "members": [config["members"][0] | member]}
                client.admin.command("replSetReconfig", moved, force=True)
    return False


def _connect(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=100, socketTimeoutMS=2000)
