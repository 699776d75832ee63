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

from agent.strays import LINUX, clear, weed

CHILD_SUBREAPER = 36  # of prctl
NUMBER = 8  # bytes
MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from agent.nursery import serve; serve(sys.argv[2])"

# It tells the exit status through its standard input, which the program does not get, and then stands still until it
# is killed, so that what the program left behind can be found below it. Its own words about signals go nowhere.
SUPERVISOR = 'trap : HUP INT TERM PIPE; ("$@" </dev/null 2>&1); echo "$?" >&0; kill -STOP "$$"'


class Nursery:
    """The agent's end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket, self._process = self._open()

    def _open(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", MAIN, str(Path(__file__).parent.parent), str(self._folder)],
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

    def start(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], told: int, output: int) -> int:
        """Returns the process id of the supervisor, which writes the exit status, or ! and an error, to `told`."""
        request = json.dumps([command, str(cwd), dict(environment)]).encode()
        try:
            supervisor = self._ask(request, told, output)
        except OSError:  # somebody killed it: what it started goes on, and a new one starts the rest
            self._close()
            self._socket, self._process = self._open()
            supervisor = self._ask(request, told, output)
        if not supervisor:
            raise OSError("this machine has no room for another process")
        return supervisor

    def _ask(self, request: bytes, told: int, output: int) -> int:
        socket.send_fds(self._socket, [len(request).to_bytes(NUMBER)], [told, output])
        self._socket.sendall(request)
        answer = self._socket.recv(NUMBER)
        if not answer:
            raise ConnectionResetError("the nursery is gone")
        return int.from_bytes(answer)


def serve(folder: str) -> None:
    """Start what the agent asks for until it is gone, however it went."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    _adopt_orphans()
    try:
        with socket.socket(fileno=0) as agent, suppress(EOFError, ConnectionError):
            while True:
                size, handles, _, _ = socket.recv_fds(agent, NUMBER, 2)
                request = json.loads(_received(agent, int.from_bytes(size)))
                supervisor = 0
                with suppress(OSError):
                    supervisor = os.fork() or _become_supervisor(*request, *handles)
                for handle in handles:
                    os.close(handle)
                agent.sendall(supervisor.to_bytes(NUMBER))
    finally:
        weed(os.getpid())
        clear(Path(folder))


def _received(agent: socket.socket, size: int) -> bytes:
    """Raises EOFError when the agent is gone, be it in the middle of a word. No request is empty."""
    parts = bytearray()
    while len(parts) < size or not parts:
        part = agent.recv(max(size - len(parts), 1))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _become_supervisor(command: list[str], cwd: str, environment: dict[str, Any], told: int, output: int) -> NoReturn:
    try:
        for handle, place in ((told, 0), (output, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
            os.dup2(handle, place)
        os.close(told)
        os.close(output)
        os.setsid()
        _adopt_orphans()
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # an ignored one would stay so
            signal.signal(number, signal.SIG_DFL)
        os.chdir(cwd)
        os.execve("/bin/sh", ["sh", "-c", SUPERVISOR, "headrace", *command], environment)  # noqa: S606
    except (OSError, ValueError) as error:
        os.write(0, f"!{error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _adopt_orphans() -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
