"""One program of a job: its run, and the end of all processes that it leaves behind."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path

from agent.processes.job_spawner import JobSpawner

PIPE_SIZE = 64 * 1024
KILLED_EXIT_STATUS = 137
DEFAULT_SHELL_SCRIPT = (
    'if command -v bash >/dev/null; then exec bash -eo pipefail "$1"; '
    'elif (set -o pipefail) 2>/dev/null; then exec sh -eo pipefail "$1"; else exec sh -e "$1"; fi'
)


def interpreter_command(program: str) -> list[str]:
    """Return a command to which the path of a script is appended. It runs the script up to the first failure.

    `program`: the configured shell. Empty: bash with pipefail, or else sh, with pipefail if it supports that.
    """
    return [program, "-e"] if program else ["sh", "-c", DEFAULT_SHELL_SCRIPT, "sh"]


def _start_program(
    spawner: JobSpawner, command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> tuple[int, FileIO, FileIO]:
    """Start a program. Return its supervisor's process id, a pipe with the exit status, and a pipe with the output."""
    status_reader, status_writer = _open_pipe()
    output_reader, output_writer = _open_pipe()
    with status_writer, output_writer:
        try:
            supervisor = spawner.start(
                list(map(str, command)), cwd, environment, status_writer.fileno(), output_writer.fileno()
            )
        except BaseException:
            status_reader.close()
            output_reader.close()
            raise
    return supervisor, status_reader, output_reader


def _open_pipe() -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return FileIO(reading), FileIO(writing, "w")


async def run_program(
    spawner: JobSpawner,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Callable[[bytes], None],
) -> int:
    """Run a program and return its exit status as a shell reports it (128 + n for signal n).

    Before this returns, all processes of the program are ended, also on cancellation. Raises OSError if the program
    cannot start.
    """
    loop = asyncio.get_running_loop()
    supervisor, status_reader, output_reader = _start_program(spawner, command, cwd, environment)
    status: asyncio.Future[bytes] = loop.create_future()

    def read_status() -> None:
        loop.remove_reader(status_reader)
        status.set_result(status_reader.read(PIPE_SIZE) or b"")

    def forward() -> bool:
        content = output_reader.read(PIPE_SIZE)
        if content:
            output(content)
        elif content is not None:
            loop.remove_reader(output_reader)
        return bool(content)

    with status_reader, output_reader:
        os.set_blocking(output_reader.fileno(), False)
        loop.add_reader(status_reader, read_status)
        loop.add_reader(output_reader, forward)
        try:
            await asyncio.wait([status])
        finally:
            try:
                await spawner.terminate(supervisor, status)
            finally:
                loop.remove_reader(status_reader)
                loop.remove_reader(output_reader)
                for _ in range(16):  # read the rest of the pipe; limited, because a process may still write
                    if not forward():
                        break
    reported = status.result()
    if reported.startswith(b"!"):
        raise OSError(reported[1:].decode().strip())
    return int(reported) if reported else KILLED_EXIT_STATUS  # empty: the supervisor was killed
