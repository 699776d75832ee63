"""Copies of a job's files to its pod and back, as tar archives. The archives from the pod are not trusted."""

import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

from agent.config import ArchiveLimits
from agent.executors.kubernetes.cluster_client import KubernetesError

CHUNK_BYTES = 64 * 1024
GIT_DIRECTORY = ".git"


class Received:
    """A file for the archive from a pod. Chunks beyond `limit` bytes set `is_too_large` instead; 0: no limit."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file = path.open("wb")
        self._limit = limit
        self.is_too_large = False

    def write(self, chunk: bytes) -> None:
        if self._limit and self._file.tell() + len(chunk) > self._limit:
            self.is_too_large = True
        else:
            self._file.write(chunk)

    def close(self) -> None:
        self._file.close()


async def read_chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def pack_files(archive: Path, root: Path, *paths: Path) -> int:
    """Write an archive of files, and of the contents of folders, below `root`. Return its size in bytes.

    The folders themselves exist in the pod, and its user may not be allowed to change their attributes.
    """

    def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as file:
        for path in paths:
            for entry in sorted(path.iterdir()) if path.is_dir() else [path]:
                file.add(entry, arcname=entry.relative_to(root), filter=owned_by_root)
    return archive.stat().st_size


def replace_checkout(archive: Path, checkout: Path, limits: ArchiveLimits) -> int:
    """Replace the files of a checkout, except `.git`, with the archive's files. Return the number of skipped entries.

    Skipped are entries that are no files, folders or links, or that lead out of the checkout. Entries of `.git` and
    sparse files are ignored and not counted. Raises KubernetesError if the archive is invalid or has too many entries.
    """
    for path in checkout.iterdir():
        if path.name != GIT_DIRECTORY:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    skipped = 0
    try:
        with tarfile.open(archive, "r:") as file:
            for number, entry in enumerate(file):
                if limits.entries and number >= limits.entries:
                    raise KubernetesError(f"the job's folder has more than {limits.entries} files (archives.entries)")
                if _is_in_git_directory(entry, checkout) or entry.issparse():
                    continue
                try:
                    file.extract(entry, checkout, filter="data")
                except (tarfile.FilterError, KeyError):  # KeyError: a link to an entry that does not exist
                    skipped += 1
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise KubernetesError(f"the files of the job could not be read: {type(error).__name__}") from error
    return skipped


def _is_in_git_directory(entry: tarfile.TarInfo, checkout: Path) -> bool:
    """Return whether the entry, or the target of its hard link, is below `.git`, including paths through symlinks."""
    names = [entry.name, entry.linkname] if entry.islnk() else [entry.name]
    git = checkout.resolve() / GIT_DIRECTORY
    return any((checkout / name.lstrip("/")).resolve().is_relative_to(git) for name in names)
