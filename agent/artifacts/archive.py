"""Archives of a job's files: selection by patterns, and packing as zip or gzip."""

import asyncio
import gzip
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Event
from typing import BinaryIO, TypeVar

import re2

from libs.globs import glob_to_regex

T = TypeVar("T")

GIT_DIRECTORY = ".git"
MATCH_NOTHING = r"[^\x00-\x{10FFFF}]"  # regex without any match


class ArchiveCanceled(Exception):
    pass


async def run_stoppable(work: Callable[[Event], T]) -> T:
    """Run `work` in a thread and return its result. If canceled, set the event passed to it and wait for its end."""
    stop = Event()
    thread = asyncio.create_task(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(thread, return_exceptions=True)
        raise


def is_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _normalize_pattern(folder: Path, pattern: str) -> str:
    """Return the pattern relative to the folder, without `./` and trailing slashes. The folder itself becomes `**`."""
    inside = os.path.normpath(pattern.removeprefix(f"{folder}/"))
    return "**" if inside == "." else inside


def compile_patterns(folder: Path, patterns: Iterable[str], *, include_contents: bool) -> "re2._Regexp":
    """Compile glob patterns to one RE2 regex, which matches in linear time: a job's patterns cannot block other jobs.

    `include_contents`: a pattern that matches a folder also matches everything in it. Raises ValueError for an invalid
    pattern.
    """
    alternatives = "|".join(
        glob_to_regex(_normalize_pattern(folder, pattern)) for pattern in patterns if pattern.strip()
    )
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(
            f"(?:{alternatives}){'(?:/.*)?' if include_contents else ''}" if alternatives else MATCH_NOTHING, options
        )
    except re2.error as error:
        raise ValueError(f"invalid file pattern: {_error_text(error)}") from None


def _error_text(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def find_files(
    folder: Path, paths: Sequence[str], exclude: Sequence[str], extra_names: Iterable[str] = ()
) -> list[str]:
    """Return the sorted paths below the folder that match `paths` but not `exclude`.

    Paths that are not valid Unicode are left out. `extra_names`: paths that count as matched by `paths`. Raises
    ValueError for an invalid pattern.
    """
    included = compile_patterns(folder, paths, include_contents=True)
    excluded = compile_patterns(folder, exclude, include_contents=False)
    extra = set(extra_names)
    return sorted(
        name
        for name in _walk_names(folder)
        if _is_unicode(name) and (included.fullmatch(name) or name in extra) and not excluded.fullmatch(name)
    )


def _is_unicode(name: str) -> bool:
    """Return whether the name is valid Unicode, which an archive requires."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk_names(folder: Path) -> Iterator[str]:
    """Yield the paths of all files and folders below the folder, except its folder `.git`. Links are not followed.

    Yields nothing if the folder itself is a link.
    """
    if folder.is_symlink():
        return
    for root, folders, files in os.walk(folder):
        parent = PurePosixPath(root).relative_to(folder)
        if parent == PurePosixPath():
            folders[:] = [name for name in folders if name != GIT_DIRECTORY]
        yield from (str(parent / name) for name in (*folders, *files))


def pack(
    folder: Path, names: Iterable[str], archive: Path | BinaryIO, stop: Event, *, level: int | None = None
) -> list[str]:
    """Write a zip archive of the files and folders with these names, which are relative to `folder`.

    Return the names that are skipped, such as names of sockets, pipes, and links out of the folder.
    Raises ArchiveCanceled once `stop` is set.
    """
    skipped = []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=level, strict_timestamps=False) as file:
        for name in names:
            if stop.is_set():
                raise ArchiveCanceled
            path = folder / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and is_inside(folder, path.parent / os.readlink(path)):
                link = zipfile.ZipInfo(name)
                link.external_attr = mode << 16
                file.writestr(link, os.readlink(path))
            elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                file.write(path, name)
            else:
                skipped.append(name)
    return skipped


def compress(folder: Path, names: Iterable[str], archive: BinaryIO, stop: Event) -> list[str]:
    """Write the files one after the other as gzip members, as GitLab's runner does for reports.

    Return the names of links and special files, which are skipped. Folders are skipped too, but not returned. Raises
    ArchiveCanceled once `stop` is set.
    """
    skipped = []
    for name in names:
        if stop.is_set():
            raise ArchiveCanceled
        path = folder / name
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb") as source, gzip.GzipFile(name, "wb", fileobj=archive) as member:
                shutil.copyfileobj(source, member)
        elif not stat.S_ISDIR(mode):
            skipped.append(name)
    return skipped
