"""A helper process that starts the programs of jobs, and kills them all if the agent dies.

It is not part of the agent, because forking a small process is fast. Each program runs below a supervisor process that
adopts orphans (Linux child subreaper). So all processes of a program remain its descendants, even if they change their
session, process group or environment.
"""

import ctypes
import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self

from agent.processes.process_cleanup import (
    IS_LINUX,
    KILL_TIMEOUT_SECONDS,
    kill_and_remove,
    kill_descendants,
    send_signal,
)

PR_SET_CHILD_SUBREAPER = 36  # from <linux/prctl.h>
PR_SET_NO_NEW_PRIVS = 38
INTEGER_BYTES = 8
SIGNAL_TIMEOUT_SECONDS = 1.0  # limit for the process that signals all processes of a user, because they can stop it
PACKAGE_ROOT = Path(__file__).parents[2]  # the folder that contains the package `agent`
# run with -I -S, so the modules imported here can use only the standard library
SPAWNER_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from agent.processes.process_spawner import serve; serve(sys.argv[2])"
)

# The supervisor writes the exit status to its standard input, a pipe that the program does not inherit. It then stops
# itself until it is killed, so that remaining processes stay its descendants. Its own stderr is discarded.
SUPERVISOR_SCRIPT = 'trap : HUP INT TERM PIPE; ("$@" </dev/null 2>&1); echo "$?" >&0; kill -STOP "$$"'


class ProcessSpawner:
    """Starts the helper process and sends it requests. The agent uses it."""

    def __init__(self, folder: Path, limits: Mapping[str, int] | None = None) -> None:
        """Start the helper. `limits` of each program: names of `resource` without `RLIMIT_`, with their values."""
        self._folder = folder
        self._limits = dict(limits or {})
        self._lock = threading.Lock()
        self._socket, self._process = self._open()
        self._is_first = True

    @property
    def ancestor(self) -> int | None:
        """The process of which all programs are descendants. None: a former helper process may have started some."""
        return self._process.pid if self._is_first else None

    def _open(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", SPAWNER_PROGRAM, str(PACKAGE_ROOT), str(self._folder)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal must not kill the helper
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
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        status_fd: int,
        output_fd: int,
        user: tuple[int, int] | None = None,
        group: Path | None = None,
    ) -> int:
        """Start a program and return the process id of its supervisor.

        `user`: uid and gid; None: the agent's user. `group`: folder of the control group to run in. The supervisor
        writes the exit status, or `!` and an error, to `status_fd`. Raises OSError.
        """
        request = [command, str(cwd), dict(environment), self._limits, str(group) if group else "", user]
        supervisor = self._request("start", request, [status_fd, output_fd])
        if not supervisor:
            raise OSError("the machine cannot start another process")
        return supervisor

    def signal_user(self, uid: int, gid: int, number: int) -> None:
        """Send a signal to all processes of a user in one step."""
        self._request("signal", [uid, gid, number], [])

    def _request(self, action: str, arguments: list[Any], handles: list[int]) -> int:
        request = json.dumps([action, arguments]).encode()
        with self._lock:  # jobs are cleaned up in threads
            try:
                return self._send(request, handles)
            except OSError:  # the helper was killed; the programs that it started keep running
                self._close()
                self._socket, self._process = self._open()
                self._is_first = False
                return self._send(request, handles)

    def _send(self, request: bytes, handles: list[int]) -> int:
        socket.send_fds(self._socket, [len(request).to_bytes(INTEGER_BYTES)], handles)
        self._socket.sendall(request)
        answer = self._socket.recv(INTEGER_BYTES)
        if not answer:
            raise ConnectionResetError("the helper process has died")
        return int.from_bytes(answer)


def serve(folder: str) -> None:
    """Run the helper process: start programs and send signals on request until the agent exits or dies.

    Then kill all programs and remove the folder.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps children automatically
    _become_subreaper()
    users: set[tuple[int, int]] = set()
    try:
        with socket.socket(fileno=0) as agent, suppress(EOFError, ConnectionError):
            while True:
                size, handles, _, _ = socket.recv_fds(agent, INTEGER_BYTES, 2)
                action, arguments = json.loads(_receive(agent, int.from_bytes(size)))
                answer = 0
                if action == "start":
                    if user := arguments[-1]:
                        users.add(tuple(user))
                    with suppress(OSError):
                        answer = os.fork() or _exec_supervisor(*arguments, *handles)
                else:
                    _signal_user(*arguments)
                for handle in handles:
                    os.close(handle)
                agent.sendall(answer.to_bytes(INTEGER_BYTES))
    finally:
        for uid, gid in users:
            _signal_user(uid, gid, signal.SIGKILL)
        kill_descendants(os.getpid())
        kill_and_remove(Path(folder))


def _receive(agent: socket.socket, size: int) -> bytes:
    """Receive a request of `size` bytes. Raises EOFError if the agent closes the socket, even within a request."""
    parts = bytearray()
    while len(parts) < size or not parts:
        part = agent.recv(max(size - len(parts), 1))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _signal_user(uid: int, gid: int, number: int) -> None:
    """Send a signal to all processes of a user, from a child process with its uid.

    The kernel signals them in one step, so that no process can escape by forking. They can also stop or kill the child.
    Therefore a failed attempt is repeated, for up to KILL_TIMEOUT_SECONDS.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
    is_sent = False
    while not is_sent and time.monotonic() < deadline:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _signal_and_exit(uid, gid, number, writer)
        os.close(writer)
        if select.select([reader], [], [], SIGNAL_TIMEOUT_SECONDS)[0]:
            is_sent = bool(os.read(reader, 1))
        os.close(reader)
        if not is_sent:  # a process of the user has stopped or killed the child
            send_signal(child, signal.SIGKILL)


def _signal_and_exit(uid: int, gid: int, number: int, writer: int) -> NoReturn:
    try:
        _become_user(uid, gid)
        if os.getresuid() == (uid, uid, uid) and uid:  # as root, -1 would be all processes of the machine
            os.kill(-1, number)
            os.write(writer, b"y")
    finally:
        os._exit(0)


def _become_user(uid: int, gid: int) -> None:
    """Give up all privileges permanently. Programs with the setuid bit cannot regain them."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "setuid programs cannot be disabled")


def _exec_supervisor(
    command: list[str],
    cwd: str,
    environment: dict[str, Any],
    limits: dict[str, int],
    group: str,
    user: tuple[int, int] | None,
    status_fd: int,
    output_fd: int,
) -> NoReturn:
    try:
        for handle, target in ((status_fd, 0), (output_fd, 1), (os.open(os.devnull, os.O_WRONLY), 2)):
            os.dup2(handle, target)
        os.close(status_fd)
        os.close(output_fd)
        os.setsid()
        _become_subreaper()
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # programs would inherit ignored signals
            signal.signal(number, signal.SIG_DFL)
        if group:
            Path(group, "cgroup.procs").write_text("0")  # 0: this process
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        if user:
            if stat.S_ISFIFO(os.fstat(1).st_mode):
                os.fchown(1, *user)  # so that programs can open /dev/stdout and /dev/stderr
            _become_user(*user)
        os.chdir(cwd)
        os.execve("/bin/sh", ["sh", "-c", SUPERVISOR_SCRIPT, "headrace", *command], environment)  # noqa: S606
    except (OSError, ValueError) as error:
        os.write(0, f"!{error}\n".encode(errors="replace"))
    finally:
        os._exit(127)


def _become_subreaper() -> None:
    if IS_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
