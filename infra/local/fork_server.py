"""The fork server: a process that has imported the modules of all services, and forks the processes of the stack.

A forked process starts without the imports and shares their memory. The fork server itself has no secrets. The
supervisor becomes the parent of each forked process, so the process no longer depends on the fork server.
"""

import ctypes
import gc
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setproctitle import getproctitle, setproctitle

from infra.local.process import Program, kill_with_parent

PR_SET_CHILD_SUBREAPER = 36
ANSWER_TIMEOUT_SECONDS = 30.0  # includes the imports of a fork server that has just been started


class ForkedProcess:
    """A forked process with the methods of Popen that `Process` uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.005)
        return status

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class ForkServer:
    """The supervisor's connection to the fork server."""

    def __init__(self, python: tuple[str, ...], environment: Mapping[str, str], log: Path) -> None:
        self._python = python
        self._environment = environment
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start(self) -> None:
        """Start the fork server. It imports the modules while the caller continues."""
        self._connection, its_end = socket.socketpair()
        self._connection.settimeout(ANSWER_TIMEOUT_SECONDS)
        with its_end, self._log.open("ab") as output:
            self._popen = subprocess.Popen(
                (*self._python, "fork-server"),
                stdin=its_end.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                process_group=0,
                preexec_fn=kill_with_parent(os.getpid()),
            )

    def fork(self, program: Program) -> ForkedProcess | None:
        """Start the program. Return None if the fork server has failed; the next call starts a new fork server."""
        request = {
            "argv": program.argv,
            "arguments": program.argv[len(self._python) :],
            "environment": dict(program.environment or {}),
            "log": str(program.log),
            "parent": os.getpid(),
        }
        try:
            if self._connection is None:
                self.start()
            with _adopting_orphans():
                return ForkedProcess(self._exchange(json.dumps(request)))
        except (OSError, ValueError):
            self.stop()
            return None

    def _exchange(self, request: str) -> int:
        if self._connection is None:
            raise OSError("the fork server is stopped")
        self._connection.sendall(f"{request}\n".encode())
        return int(self._connection.recv(32))  # ValueError if the fork server has exited: the answer is empty

    def stop(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
        if self._popen:
            self._popen.kill()
            self._popen.wait()
            self._popen = None


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Make this process the parent of each descendant whose parent exits during the block."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def serve(preload: Callable[[], None]) -> list[str]:
    """Fork a process for each request on stdin. Return in each forked process, with the arguments of its program.

    In the fork server itself, exit at the end of stdin.
    """
    getproctitle()  # finds the memory of the title, which is impossible after a change of the environment
    preload()
    gc.collect()
    gc.freeze()  # a collection would write to the shared memory
    connection = socket.socket(fileno=os.dup(0))
    with connection.makefile("rb") as requests:
        for line in requests:
            middle = os.fork()
            if middle == 0:
                middle = os.getpid()
                if os.fork():
                    os._exit(0)  # the supervisor adopts the child
                request = json.loads(line)
                _become(request, middle)
                connection.sendall(str(os.getpid()).encode())
                os.closerange(3, connection.detach() + 1)
                return list(request["arguments"])
            os.waitpid(middle, 0)
    sys.exit()


def _become(request: Mapping[str, Any], former_parent: int) -> None:
    """Set up this process as subprocess.Popen would have started it."""
    while os.getppid() == former_parent:
        time.sleep(0.0005)
    os.setpgid(0, 0)
    if bind := kill_with_parent(request["parent"]):
        bind()
    with Path(os.devnull).open("rb") as nothing, Path(request["log"]).open("ab") as log:
        for target, file in enumerate((nothing, log, log)):
            os.dup2(file.fileno(), target)
    os.environ.clear()
    os.environ.update(request["environment"])
    setproctitle(" ".join(request["argv"]))
