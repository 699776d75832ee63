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
STATE_CHANGE_TIMEOUT_SECONDS = 1.0


def wait_until_primary(port: int) -> None:
    deadline = time.monotonic() + ELECTION_TIMEOUT_SECONDS
    while not become_primary(port):
        if time.monotonic() > deadline:
            raise OperatorError(f"mongod on port {port} did not become primary in {ELECTION_TIMEOUT_SECONDS:g} s.")
        time.sleep(0.02)


def become_primary(port: int) -> bool:
    """Initiate or reconfigure the replica set if needed. Return whether mongod is primary. Call until it is.

    Waits up to STATE_CHANGE_TIMEOUT_SECONDS for each change of the member's state, instead of polling it.
    """
    with suppress(PyMongoError), _connect(port) as client:  # suppressed while mongod starts
        state = client.admin.command("hello")
        if state["isWritablePrimary"]:
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
        return _wait_until_primary(client, state)
    return False


def _wait_until_primary(client: MongoClient[dict[str, Any]], state: dict[str, Any]) -> bool:
    """Wait while the state changes. Return whether mongod is primary."""
    known = None
    while not state["isWritablePrimary"] and state["topologyVersion"] != known:
        known = state["topologyVersion"]
        wait = {"topologyVersion": known, "maxAwaitTimeMS": int(STATE_CHANGE_TIMEOUT_SECONDS * 1000)}
        state = client.admin.command("hello", **wait)  # answered when the state changes, or after the timeout
    return bool(state["isWritablePrimary"])


def _connect(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=100, socketTimeoutMS=2000)
