"""The data folder of the embedded stack: databases, logs, generated secrets and chosen ports."""

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.local import ports
from infra.local.process import OperatorError

MIN_FREE_BYTES = 500_000_000  # required at the start, because mongod stops when the disk is full

STORES = {"mongod": "mongodb", "nats-server": "nats"}  # data folders whose name differs from the process's name


@dataclass(frozen=True, slots=True)
class DataFolder:
    path: Path

    def prepare(self) -> None:
        """Create missing folders. Raises OperatorError if they are not writable or the disk lacks MIN_FREE_BYTES."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("mongodb", "nats", "logs", "run", "secrets", "agent"):
                (self.path / name).mkdir(exist_ok=True, mode=0o700)
            write_atomically(self.path / "run" / "writable", "")
        except OSError as error:
            raise OperatorError(
                f"The data folder {self.path} is not writable ({error.strerror}). "
                "Change its owner, or select another with --data or HEADRACE_DATA."
            ) from error
        free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_BYTES:
            raise OperatorError(
                f"The disk of {self.path} has {free // 10**6} MB left, "
                f"and {MIN_FREE_BYTES // 10**6} MB are required. "
                "Free some space, or select a folder on another disk with --data or HEADRACE_DATA."
            )

    def fix_node_count(self, nodes: int | None) -> int:
        """Return the number of nodes. The first start of the stack fixes it: to `nodes`, or to 1 if `nodes` is None.

        A folder with data but without a recorded number has one node. Raises OperatorError if `nodes` differs from the
        fixed number.
        """
        file = self.path / "run" / "nodes"
        if not file.exists():
            is_new = not any(self.store("mongod").iterdir())
            write_atomically(file, str((nodes or 1) if is_new else 1))
        fixed = int(file.read_text())
        if nodes not in (None, fixed):
            raise OperatorError(
                f"The data folder {self.path} was created with {fixed} node{'s' * (fixed > 1)}, and the number cannot "
                "be changed. Start it without --nodes and HEADRACE_NODES, or select a new folder with --data."
            )
        return fixed

    def require_one_node(self) -> None:
        if self.fix_node_count(None) > 1:
            raise OperatorError(
                f"The stack on {self.path} has several nodes. Start it first: headrace server up --detach"
            )

    def node_names(self, program: str, nodes: int) -> list[str]:
        """Return the names of a server's processes: the program's name, numbered if there are several nodes."""
        return [f"{program}-{number}" for number in range(1, nodes + 1)] if nodes > 1 else [program]

    def store(self, name: str) -> Path:
        """Return the folder in which a server's process stores its data. Creates it if needed."""
        folder = self.path / STORES.get(name, name)
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @property
    def agent_config(self) -> Path:
        return self.path / "agent" / "config.json"

    def log(self, name: str) -> Path:
        return self.path / "logs" / f"{name}.log"

    def secret(self, name: str, initial_value: str | None = None) -> str:
        """Return a secret by name.

        At its first use the secret is set to `initial_value`, or generated, and stored in a file that only its owner
        can read.
        """
        file = self.path / "secrets" / name
        if not file.exists():
            write_atomically(file, initial_value or secrets.token_urlsafe(24))
        return file.read_text().strip()

    def port(self, name: str) -> int:
        """Return a free port by name: the port of the last call, unless another process uses it."""
        file = self.path / "run" / f"{name}.port"
        if file.exists() and not ports.is_taken("127.0.0.1", port := int(file.read_text())):
            return port
        port = ports.find_free_port()
        write_atomically(file, str(port))
        return port


def write_atomically(file: Path, text: str) -> None:
    """Replace a file atomically. Only its owner can read it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    draft.replace(file)
