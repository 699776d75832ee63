"""A folder in memory for the servers' data: flushes to disk then cost no time."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - each run creates a folder that only it can read
MIN_FREE_BYTES = 4 * 1024**3
PREFIX = "headrace-tests-"


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """Yield a new folder in memory and remove it after the block. Without enough memory, yield `otherwise`.

    The data of one mongod and one nats-server take about 0.4 GB.
    """
    remove_abandoned_folders()
    if not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).free < MIN_FREE_BYTES:
        yield otherwise
        return
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=SHARED_MEMORY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_abandoned_folders() -> None:
    """Remove the folders that killed processes have left behind."""
    for folder in SHARED_MEMORY.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(PREFIX).partition("-")[0])):
            shutil.rmtree(folder, ignore_errors=True)
