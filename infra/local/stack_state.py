"""State of the stack on a data folder: a lock that its supervisor holds, and a file that lists its processes."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infra.local import ports
from infra.local.data_folder import DataFolder, write_atomically
from infra.local.process import OperatorError


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process of the stack, as last observed."""

    name: str
    pid: int | None  # None: it has exited and will be restarted
    address: str
    health: str
    url: str = field(default="", repr=False)  # URL for clients, with the login if there is one

    def is_ready(self) -> bool:
        if self.pid is None:
            return False
        health = urlsplit(self.health)
        port = health.port or 0
        is_http = health.scheme == "http"
        return ports.is_http_ok(port, health.path) if is_http else ports.accepts_connections(port)


@dataclass(frozen=True, slots=True)
class StackState:
    supervisor: int
    ready: bool  # all processes have become ready
    url: str
    processes: tuple[ProcessState, ...]

    def servers(self, program: str) -> list[ProcessState]:
        """Return the processes of an embedded server, one per node."""
        return [process for process in self.processes if process.name.startswith(program)]

    def write(self, folder: DataFolder) -> None:
        write_atomically(_state_file(folder), json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: DataFolder) -> "StackState | None":
        """Return the state, or None if no stack runs on the folder."""
        supervisor = find_supervisor(folder)
        if supervisor is None or not _state_file(folder).exists():
            return None
        fields = json.loads(_state_file(folder).read_text())
        if fields["supervisor"] != supervisor:  # written by an earlier supervisor
            return None
        return cls(**fields | {"processes": tuple(ProcessState(**process) for process in fields["processes"])})


@contextmanager
def exclusive_lock(folder: DataFolder) -> Iterator[None]:
    """Hold the folder's lock during the block. The lock file then contains the process id.

    The kernel releases the lock when the process ends. Raises OperatorError if another process holds the lock.
    """
    with _lock_file(folder).open("a+") as lock:
        deadline = time.monotonic() + 0.5
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:  # `find_supervisor` takes the lock too, but for a shorter time
                raise OperatorError(f"Headrace is already running on {folder.path}; see `headrace server status`.")
            time.sleep(0.02)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def find_supervisor(folder: DataFolder) -> int | None:
    """Return the process id of the supervisor that holds the lock, or None."""
    if not _lock_file(folder).exists():
        return None
    with _lock_file(folder).open() as lock:
        if _try_lock(lock.fileno(), fcntl.LOCK_SH):
            return None
        return int(lock.read() or 0) or None


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(folder: DataFolder) -> Path:
    return folder.path / "run" / "lock"


def _state_file(folder: DataFolder) -> Path:
    return folder.path / "run" / "processes.json"
