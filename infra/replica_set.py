"""The replica set of the embedded MongoDB. It has a member per node."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.local.mongod import REPLICA_SET
from infra.local.process import OperatorError

NOT_YET_INITIALIZED = 94
ELECTION_TIMEOUT_SECONDS = 60.0
STATE_CHANGE_TIMEOUT_SECONDS = 1.0
ELECTION_TIMEOUT_MS = 4000  # used with several members; a busy machine must not cause elections


def wait_until_primary(ports: Sequence[int]) -> None:
    """Wait until the replica set of these ports has a primary.

    Raises OperatorError after ELECTION_TIMEOUT_SECONDS.
    """
    deadline = time.monotonic() + ELECTION_TIMEOUT_SECONDS
    while not elect_primary(ports):
        if time.monotonic() > deadline:
            named = ", ".join(map(str, ports))
            raise OperatorError(f"MongoDB on port {named} elected no primary in {ELECTION_TIMEOUT_SECONDS:g} s.")
        time.sleep(0.02)


def elect_primary(ports: Sequence[int]) -> bool:
    """Initiate or reconfigure the replica set if needed. Return whether it has a primary.

    Call this function until it returns True. Each call waits for a primary while the first member's state changes at
    least every STATE_CHANGE_TIMEOUT_SECONDS. Returns False if that member does not respond.
    """
    with suppress(PyMongoError), _connect(ports[0]) as client:  # mongod may still be starting
        state = client.admin.command("hello")
        if _has_primary(state, ports):
            return True
        members = [{"_id": number, "host": f"127.0.0.1:{port}"} for number, port in enumerate(ports)]
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code == NOT_YET_INITIALIZED:
                settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS if len(ports) > 1 else 1000}
                client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members, "settings": settings})
        else:
            if [member["host"] for member in config["members"]] != [member["host"] for member in members]:
                # no majority is at the configured ports to vote for the new ones, so the change must be forced
                moved = [known | member for known, member in zip(config["members"], members, strict=True)]
                changed = {**config, "version": config["version"] + 1, "members": moved}
                client.admin.command("replSetReconfig", changed, force=True)
        return _wait_for_primary(client, state, ports)
    return False


def _has_primary(state: dict[str, Any], ports: Sequence[int]) -> bool:
    """Return whether the member is primary or, in a set of several members, knows the primary."""
    return bool(state["isWritablePrimary"] or (len(ports) > 1 and "primary" in state))


def _wait_for_primary(client: MongoClient[dict[str, Any]], state: dict[str, Any], ports: Sequence[int]) -> bool:
    """Wait until there is a primary, or until the state stays the same for STATE_CHANGE_TIMEOUT_SECONDS.

    Return whether there is a primary.
    """
    known = None
    while not _has_primary(state, ports) and state["topologyVersion"] != known:
        known = state["topologyVersion"]
        wait = {"topologyVersion": known, "maxAwaitTimeMS": int(STATE_CHANGE_TIMEOUT_SECONDS * 1000)}
        state = client.admin.command("hello", **wait)  # answered when the state changes, or after the timeout
    return _has_primary(state, ports)


def _connect(port: int) -> MongoClient[dict[str, Any]]:
    return MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=100, socketTimeoutMS=2000)
