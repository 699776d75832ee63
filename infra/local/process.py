"""A child process that logs to a file and, on Linux, cannot outlive its parent process."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 20_000_000  # a longer log is rotated; one old log is kept


class OperatorError(Exception):
    """An error that the operator can fix. The message says how."""


class Child(Protocol):
    """The part of subprocess.Popen that `Process` uses."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    argv: tuple[str, ...]
    log: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] | None = field(default=None, repr=False)  # None: this process's environment
    address: str = ""  # URL to display, without a login
    url: str = field(default="", repr=False)  # URL for clients, with the login
    health: str = ""
    # returns the message for a known failure in the log, or ""
    explain_failure: Callable[[str], str] = lambda _log: ""
    # starts the program without a new interpreter; returns None if that is not possible
    fork: "Callable[[Program], Child | None] | None" = None


class Process:
    """A program and its process. It can be started again after it has ended."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._child: Child | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> None:
        with self.program.log.open("ab") as output:
            self._log_start = output.tell()
            self._child = self.program.fork(self.program) if self.program.fork else None
            if self._child:
                return
            try:
                self._child = subprocess.Popen(
                    self.program.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self.program.environment,
                    process_group=0,  # Ctrl-C reaches only the supervisor, which stops the processes in order
                    preexec_fn=kill_with_parent(os.getpid()),
                )
            except OSError as error:
                raise OperatorError(f"Cannot start {self.program.name}: {error}.") from error

    def trim_log(self) -> None:
        """Rotate the log if it is too long. It is copied and truncated, because the process keeps the file open."""
        log = self.program.log
        if log.stat().st_size > MAX_LOG_BYTES:
            shutil.copyfile(log, log.with_suffix(".old.log"))
            os.truncate(log, 0)
            self._log_start = 0

    def exit_status(self) -> int | None:
        """Return the exit status: None while the process runs, 0 if it was never started."""
        return self._child.poll() if self._child else 0

    def terminate(self) -> None:
        if self._child:
            self._child.terminate()  # does nothing once the exit status is known, so a reused pid is never signaled

    def kill(self) -> None:
        if self._child and self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def stop(self, timeout: float = 10) -> None:
        self.terminate()
        if self._child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout)
            self.kill()

    def wait_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not self.program.is_ready():
            if self.exit_status() is not None:
                raise self.failure("exited during start-up")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {timeout:g} s")
            time.sleep(0.02)

    def failure(self, what: str) -> OperatorError:
        """Return an error with the known reason, or with `what` and the last lines of the log since the start."""
        with self.program.log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read()[-20_000:].decode(errors="replace")
        if sentence := self.program.explain_failure(text):
            return OperatorError(sentence)
        lines = "\n".join(f"  {line[:400]}" for line in text.splitlines()[-12:]) or "  (nothing)"
        return OperatorError(f"{self.program.name} {what}; its log {self.program.log} ends with:\n{lines}")


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def kill_with_parent(parent: int) -> Callable[[], None] | None:
    """Return a function that makes the kernel kill the child when this process dies, even if it is killed.

    The kernel watches the thread that started the child, so that thread must not exit earlier. Return None on other
    systems than Linux.
    """
    libc = _libc
    if libc is None:
        return None

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call of prctl
            os._exit(1)

    return before_exec
