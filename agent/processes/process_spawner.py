"""A small process beside the agent that starts the programs of jobs, and ends them all should the agent be gone.

It is small because a large process forks slowly. Each program gets a supervisor that adopts whoever loses its parent,
so that a job's processes are known by their descent, whatever session, group or environment they chose.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

from agent.processes.process_cleanup import IS_LINUX, kill_and_remove, kill_descendants

PR_SET_CHILD_SUBREAPER = 36  # of prctl
INTEGER_BYTES = 8  # bytes
SPAWNER_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from agent.processes.process_spawner import serve; serve(sys.argv[2])"
)

# It tells the exit status through its standard input, which the program does not get, and then stands still until it
# is killed, so that what the program left behind can be found below it. Its own words about signals go nowhere.
SUPERVISOR_SCRIPT = 'trap : HUP INT TERM PIPE; ("$@" </dev/null 2>&1); echo "$?" >&0; kill -STOP "$$"'


class ProcessSpawner:
    """The agent's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket, self._process = self._open()

    def _open(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    SPAWNER_PROGRAM,
                    str(Path(__file__).parents[2]),
                    str(self._folder),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal must not reach it
            )
        return ours, process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], status_fd: int, output_fd: int
    ) -> int:
        """Returns the process id of the supervisor, which writes the exit status, or ! and an error, to `told`."""
        request = json.dumps([command, str(cwd), dict(environment)]).encode()
        try:
            supervisor = self._request(request, status_fd, output_fd)
        except OSError:  # somebody killed it: what it started goes on, and a new one starts the rest
            self._close()
            self._socket, self._process = self._open()
            supervisor = self._request(request, status_fd, output_fd)
        if not supervisor:
            raise OSError("this machine has no room for another process")
        return supervisor

    def _request(self, request: bytes, status_fd: int, output_fd: int) -> int:
        socket.send_fds(self._socket, [len(request).to_bytes(INTEGER_BYTES)], [status_fd, output_fd])
        self._socket.sendall(request)
        answer = self._socket.recv(INTEGER_BYTES)
        if not answer:
            raise ConnectionResetError("the nursery is gone")
        return int.from_bytes(answer)


def serve(folder: str) -> None:
    """Start what the agent asks for until it is gone, however it went."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    _become_subreaper()
    try:
        with socket.socket(fileno=0) as agent, suppress(EOFError, ConnectionError):
            while True:
                size, handles, _, _ = socket.recv_fds(agent, INTEGER_BYTES, 2)
                request = json.loads(_receive(agent, int.from_bytes(size)))
                supervisor = 0
                with suppress(OSError):
                    supervisor = os.fork() or _exec_supervisor(*request, *handles)
                for handle in handles:
                    os.close(handle)
                agent.sendall(supervisor.to_bytes(INTEGER_BYTES))
    finally:
        kill_descendants(os.getpid())
        kill_and_remove(Path(folder))


def _receive(agent: socket.socket, size: int) -> bytes:
    """Raises EOFError when the agent is gone, be it in the middle of a word. No request is empty."""
    parts = bytearray()
    while len(parts) < size or not parts:
        part = agent.recv(max(size - len(parts), 1))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _exec_supervisor(
    command: list[str], cwd: str, environment: dict[str, Any], status_fd: int, output_fd: int
) -> NoReturn:
    try:
        for handle, place in ((status_fd, 0), (output_fd, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
            os.dup2(handle, place)
        os.close(status_fd)
        os.close(output_fd)
        os.setsid()
        _become_subreaper()
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # an ignored one would stay so
            signal.signal(number, signal.SIG_DFL)
        os.chdir(cwd)
        os.execve("/bin/sh", ["sh", "-c", SUPERVISOR_SCRIPT, "headrace", *command], environment)  # noqa: S606
    except (OSError, ValueError) as error:
        os.write(0, f"!{error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _become_subreaper() -> None:
    if IS_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
