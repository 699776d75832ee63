"""Eviction of git mirrors that were unused for two weeks, and of the least recently used beyond a total size."""

import time
from pathlib import Path
from typing import NamedTuple

MAX_UNUSED_SECONDS = 14 * 24 * 3600
LAST_USED = "headrace-last-used"  # a file in the mirror; its modification time is the last use


class Mirror(NamedTuple):
    """A mirror of a repository. Mirrors are ordered by their last use."""

    last_used: float  # seconds since the epoch
    size: int  # bytes
    path: Path


def mark_used(mirror: Path) -> None:
    """Record that the mirror is used now. A deleted mirror is ignored: the next fetch creates it again."""
    if mirror.is_dir():
        (mirror / LAST_USED).touch()


def find_evictable_mirrors(folder: Path, max_bytes: int) -> list[Path]:
    """Return the mirrors to remove, least recently used first. The most recently used one always stays."""
    mirrors = sorted(_read_mirror(path) for path in folder.iterdir() if path.is_dir())
    total = sum(mirror.size for mirror in mirrors)
    oldest_use = time.time() - MAX_UNUSED_SECONDS
    surplus = []
    for mirror in mirrors[:-1]:
        if total > max_bytes or mirror.last_used < oldest_use:
            surplus.append(mirror.path)
            total -= mirror.size
    return surplus


def _read_mirror(path: Path) -> Mirror:
    mark = path / LAST_USED
    return Mirror(
        (mark if mark.exists() else path).stat().st_mtime,
        sum(_file_size(file) for file in path.rglob("*")),
        path,
    )


def _file_size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # git removed a temporary file
        return 0
