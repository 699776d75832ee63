"""Runs one program, and leaves nothing of it behind."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path
from signal import SIGTERM

from agent.nursery import Nursery
from agent.strays import LINUX, living, signal_group, signalled, uproot

KILL_AFTER = 2.5  # seconds between the polite signal and the other one
PIPE_SIZE = 64 * 1024
KILLED = 137
PREFERRED = (
    'if command -v bash >/dev/null; then exec bash -eo pipefail "$1"; '
    'elif (set -o pipefail) 2>/dev/null; then exec sh -eo pipefail "$1"; else exec sh -e "$1"; fi'
)


def interpreter(program: str) -> list[str]:
    """What runs a script whose path follows, to its first failure: the program, or else the best that is there."""
    return [program, "-e"] if program else ["sh", "-c", PREFERRED, "sh"]


def _start(
    nursery: Nursery, command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> tuple[int, FileIO, FileIO]:
    """The supervisor, where it tells the status, and the output."""
    report, told = _pipe()
    output, written = _pipe()
    with told, written:
        try:
            supervisor = nursery.start(list(map(str, command)), cwd, environment, told.fileno(), written.fileno())
        except BaseException:
            report.close()
            output.close()
            raise
    return supervisor, report, output


def _pipe() -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return FileIO(reading), FileIO(writing, "w")


async def _end(supervisor: int, status: asyncio.Future[bytes]) -> None:
    """Ask all that is left to leave, then make it."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + KILL_AFTER

    def left() -> bool:
        return bool(living(supervisor)) if LINUX else not status.done()

    try:
        if not LINUX:
            signal_group(supervisor, SIGTERM)
        for process in living(supervisor):
            signalled(process, SIGTERM)
        while left() and loop.time() < give_up:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    finally:  # also when this wait is cut short
        uproot(supervisor)


async def run(
    nursery: Nursery,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    output: Callable[[bytes], None],
) -> int:
    """Return the exit status as a shell would show it. Cancelling ends all of the program before it returns."""
    loop = asyncio.get_running_loop()
    supervisor, report, printed = _start(nursery, command, cwd, environment)
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
                await _end(supervisor, status)
            finally:
                loop.remove_reader(report)
                loop.remove_reader(printed)
                for _ in range(16):  # what is still in the pipe, and no more
                    if not forward():
                        break
    told = status.result()
    if told.startswith(b"!"):
        raise OSError(told[1:].decode().strip())
    return int(told) if told else KILLED  # nothing: the supervisor was killed, too
