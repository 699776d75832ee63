"""The private folder of each run of an agent. It is locked while the agent runs."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from agent.processes.process_cleanup import kill_and_remove


@contextmanager
def _lock_directory(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a folder (flock). Yield whether that succeeded, which is always the case with `wait`.

    The kernel releases the lock when the process dies.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def is_abandoned(folder: Path) -> bool:
    """Return whether the agent that created this folder no longer runs."""
    if not folder.is_dir():
        return True
    with _lock_directory(folder, wait=False) as free:
        return free


@contextmanager
def create_run_directory(builds: Path) -> Iterator[Path]:
    """Create a private folder for one run of the agent, and remove it at the end.

    First, remove the folders of earlier runs that could not remove theirs.
    """
    builds.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _lock_directory(builds, wait=True):  # a new folder must not look abandoned before it is locked
            for folder in builds.glob("run-*"):
                with _lock_directory(folder, wait=False) as abandoned:
                    if abandoned:
                        kill_and_remove(folder)
            folder = Path(tempfile.mkdtemp(dir=builds.resolve(), prefix="run-"))
            stack.enter_context(_lock_directory(folder, wait=True))
        try:
            yield folder
        finally:
            kill_and_remove(folder)
