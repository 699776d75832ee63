"""Runs one program as a process group of its own, and leaves nothing of that group behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.strays import group_lives

KILL_AFTER = 2.5  # seconds between the polite signal and the other one
PIPE_SIZE = 64 * 1024


def _signalled(process: subprocess.Popen[bytes], number: int) -> bool:
    """Signal the whole group; false when nobody of it is left."""
    if (
        process.poll() is not None
    ):  # as process 1 of a container the agent inherits, and must reap, the leader's orphans
        try:
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            pass
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return False
    return True


async def _end(process: subprocess.Popen[bytes]) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + KILL_AFTER
    left = _signalled(process, signal.SIGTERM)
    try:
        while left and loop.time() < give_up:
            await asyncio.sleep(0.01)
            left = _signalled(process, 0) and group_lives(process.pid)
    finally:  # also when this wait is cut short
        if left:
            _signalled(process, signal.SIGKILL)
            process.wait(timeout=10)


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of the process without reaping it."""
    try:
        handle = os.pidfd_open(process.pid)
    except AttributeError:  # not Linux
        while process.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return
    loop, exited = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def run(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str], output: Callable[[bytes], None]
) -> int:
    """Return the exit status as a shell would show it. Cancelling ends the whole group before it returns."""
    process = subprocess.Popen(  # noqa: ASYNC220 - asyncio starts it just so, and then spends a thread on waiting
        command,
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    loop = asyncio.get_running_loop()
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    with process.stdout as stdout:
        os.set_blocking(stdout.fileno(), False)

        def forward() -> bool:
            try:
                content = os.read(stdout.fileno(), PIPE_SIZE)
            except BlockingIOError:
                return False
            if content:
                output(content)
            else:
                loop.remove_reader(stdout)
            return bool(content)

        loop.add_reader(stdout, forward)
        try:
            await _exited(process)
        finally:
            try:
                await _end(process)
            finally:
                loop.remove_reader(stdout)
                # a process that left the group may hold the pipe open and go on writing: take what is there, no more
                for _ in range(16):
                    if not forward():
                        break
    status = process.wait(timeout=10)
    return status if status >= 0 else 128 - status
