"""Unpacking of zip archives from untrusted jobs: within limits, interruptible, and never out of the target folder."""

import io
import os
import stat
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path, PurePosixPath
from threading import Event

from agent.artifacts.archive import GIT_DIRECTORY, ArchiveCanceled, is_inside
from agent.config import ArchiveLimits

COPY_BYTES = 256 * 1024
MAX_LINK_TARGET_BYTES = 4096
# limits the size of the archive's directory, which zipfile reads into memory before entries are counted
DIRECTORY_BYTES_PER_ENTRY = 128
MIN_RATIO_BYTES = 64 * 1024 * 1024  # unpacked size below which the compression ratio is not checked
# zipfile unpacks other compression methods in steps of unlimited size
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
FILE_TYPES = (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)  # 0: the entry does not state its type


class _LimitedFile(io.BufferedReader):
    """A file that refuses to read more than `max_read` bytes at once, such as a huge directory of an archive."""

    def __init__(self, path: Path, max_read: int | None) -> None:
        super().__init__(io.FileIO(path))
        self._max_read = max_read

    def read(self, size: int | None = -1, /) -> bytes:
        if self._max_read is not None and size is not None and size > self._max_read:
            raise ValueError(
                f"the archive's list of entries is larger than the agent's limit of {self._max_read} bytes"
            )
        return super().read(size)


def unpack(
    archive: Path,
    folder: Path,
    limits: ArchiveLimits,
    stop: Event,
    access: AbstractContextManager[None] = nullcontext(),  # noqa: B008 - can be reused
) -> list[str]:
    """Extract an archive into the folder, and replace existing files. Return the names of skipped entries.

    `access`: entered once the list of entries is read; determines the permissions with which files are written.

    Raises ValueError if the archive is not a valid zip file or exceeds a limit, which is checked before the first file
    is written. Raises ArchiveCanceled once `stop` is set.
    """
    max_read = max(limits.entries * DIRECTORY_BYTES_PER_ENTRY, COPY_BYTES) if limits.entries else None
    try:
        with _LimitedFile(archive, max_read) as file, zipfile.ZipFile(file) as source, access:
            entries = source.infolist()
            _check_limits(entries, os.fstat(file.fileno()).st_size, limits)
            return [entry.filename for entry in entries if not _extract_entry(source, entry, folder, stop)]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from None


def _check_limits(entries: list[zipfile.ZipInfo], packed: int, limits: ArchiveLimits) -> None:
    """Raise ValueError if the archive exceeds a limit or has an entry with an unsupported compression method.

    The stated size of an entry can be trusted, because zipfile never reads more of the entry.
    """
    unpacked = sum(entry.file_size for entry in entries)
    if limits.entries and len(entries) > limits.entries:
        raise ValueError(f"the archive has {len(entries)} entries, the agent's limit is {limits.entries}")
    if limits.megabytes and unpacked > limits.megabytes * 1024 * 1024:
        raise ValueError(f"the unpacked archive has {unpacked} bytes, the agent's limit is {limits.megabytes} MiB")
    if limits.ratio and unpacked > max(MIN_RATIO_BYTES, packed * limits.ratio):
        raise ValueError(
            f"the unpacked archive is {unpacked // max(packed, 1)} times larger than the archive, the agent's limit is "
            f"{limits.ratio} times"
        )
    if other := next((entry for entry in entries if entry.compress_type not in METHODS), None):
        raise ValueError(f"the archive has an entry with the unsupported compression method {other.compress_type}")


def _extract_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, stop: Event) -> bool:
    """Extract an entry and return True. Return False for an entry that is skipped.

    Skipped are special files, and entries that would leave the folder or change its `.git`.
    """
    if stop.is_set():
        raise ArchiveCanceled
    parts = PurePosixPath(entry.filename).parts
    path, mode = folder.joinpath(*parts), entry.external_attr >> 16
    if not parts or ".." in parts or stat.S_IFMT(mode) not in FILE_TYPES or not _may_write(folder, path):
        return False
    if entry.is_dir():
        if not is_inside(folder, path):
            return False
        path.mkdir(parents=True, exist_ok=True)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    if stat.S_ISLNK(mode):
        return _extract_link(source, entry, folder, path)
    with source.open(entry) as content, path.open("xb") as file:
        while chunk := content.read(COPY_BYTES):
            if stop.is_set():
                raise ArchiveCanceled
            file.write(chunk)
    path.chmod(stat.S_IMODE(mode) & 0o777 or 0o644)
    return True


def _extract_link(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, path: Path) -> bool:
    if entry.file_size > MAX_LINK_TARGET_BYTES:
        return False
    with source.open(entry) as content:
        target = os.fsdecode(content.read(MAX_LINK_TARGET_BYTES))
    if not is_inside(folder, path.parent / target):
        return False
    path.symlink_to(target)
    return True


def _may_write(folder: Path, path: Path) -> bool:
    """Return whether the path is in the folder but not in its `.git`, also through links of earlier entries."""
    place = path.parent.resolve() / path.name
    root = folder.resolve()
    return place.is_relative_to(root) and place.relative_to(root).parts[:1] not in ((), (GIT_DIRECTORY,))
