"""Runs one program, and leaves nothing of it behind."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from signal import SIGTERM

from agent.processes.process_cleanup import IS_LINUX, kill_tree, live_descendants, send_signal, signal_group
from agent.processes.process_spawner import ProcessSpawner

KILL_DELAY_SECONDS = 2.5  # seconds between the polite signal and the other one
PIPE_SIZE = 64 * 1024
KILLED_EXIT_STATUS = 137
DEFAULT_SHELL_SCRIPT = (
    'if command -v bash >/dev/null; then exec bash -eo pipefail "$1"; '
    'elif (set -o pipefail) 2>/dev/null; then exec sh -eo pipefail "$1"; else exec sh -e "$1"; fi'
)


def interpreter_command(program: str) -> list[str]:
    """What runs a script whose path follows, to its first failure: the program, or else the best that is there."""
    return [program, "-e"] if program else ["sh", "-c", DEFAULT_SHELL_SCRIPT, "sh"]


def _start_program(
    nursery: ProcessSpawner, command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> tuple[int, FileIO, FileIO]:
    """The supervisor, where it tells the status, and the output."""
    report, told = _open_pipe()
    output, written = _open_pipe()
    with told, written:
        try:
            supervisor = nursery.start(list(map(str, command)), cwd, environment, told.fileno(), written.fileno())
        except BaseException:
            report.close()
            output.close()
            raise
    return supervisor, report, output


def _open_pipe() -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return FileIO(reading), FileIO(writing, "w")


async def _terminate(supervisor: int, status: asyncio.Future[bytes]) -> None:
    """Ask all that is left to leave, then make it."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + KILL_DELAY_SECONDS

    def left() -> bool:
        return bool(live_descendants(supervisor)) if IS_LINUX else not status.done()

    try:
        if not IS_LINUX:
            signal_group(supervisor, SIGTERM)
        for process in live_descendants(supervisor):
            send_signal(process, SIGTERM)
        while left() and loop.time() < give_up:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    finally:  # also when this wait is cut short
        kill_tree(supervisor)


async def run_program(
    nursery: ProcessSpawner,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Callable[[bytes], None],
) -> int:
    """Return the exit status as a shell would show it. Cancelling ends all of the program before it returns."""
    loop = asyncio.get_running_loop()
    supervisor, report, printed = _start_program(nursery, command, cwd, environment)
    status: asyncio.Future[bytes] = loop.create_future()

    def take_status() -> None:
        loop.remove_reader(report)
        status.set_result(report.read(PIPE_SIZE) or b"")

    def forward() -> bool:
        content = printed.read(PIPE_SIZE)
        if content:
            output(content)
        elif content is not None:
            loop.remove_reader(printed)
        return bool(content)

    with report, printed:
        os.set_blocking(printed.fileno(), False)
        loop.add_reader(report, take_status)
        loop.add_reader(printed, forward)
        try:
            await asyncio.wait([status])
        finally:
            try:
                await _terminate(supervisor, status)
            finally:
                loop.remove_reader(report)
                loop.remove_reader(printed)
                for _ in range(16):  # what is still in the pipe, and no more
                    if not forward():
                        break
    told = status.result()
    if told.startswith(b"!"):
        raise OSError(told[1:].decode().strip())
    return int(told) if told else KILLED_EXIT_STATUS  # nothing: the supervisor was killed, too
