"""Zip archives of a job's files: selection by patterns, packing, and unpacking that never leaves the target folder."""

import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Event

import re2

from libs.globs import glob_to_regex

GIT_DIRECTORY = ".git"
MATCH_NOTHING = r"[^\x00-\x{10FFFF}]"  # regex without any match


class ArchiveCanceled(Exception):
    pass


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

    `extra_names`: paths that count as matched by `paths`.
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
    """Yield the paths of all files and folders below the folder, except `.git`. Links are not followed.

    Yields nothing if the folder itself is a link.
    """
    if folder.is_symlink():
        return
    for root, folders, files in os.walk(folder):
        parent = PurePosixPath(root).relative_to(folder)
        if parent == PurePosixPath():
            folders[:] = [name for name in folders if name != GIT_DIRECTORY]
        yield from (str(parent / name) for name in (*folders, *files))


def pack(folder: Path, names: Iterable[str], archive: Path, stop: Event, *, level: int | None = None) -> list[str]:
    """Write the archive. Return the names that are skipped, such as sockets, pipes, and links out of the folder.

    Raises ArchiveCanceled once `stop` is set.
    """
    skipped = []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=level, strict_timestamps=False) as file:
        for name in names:
            if stop.is_set():
                raise ArchiveCanceled
            path = folder / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and _is_inside(folder, path.parent / os.readlink(path)):
                link = zipfile.ZipInfo(name)
                link.external_attr = mode << 16
                file.writestr(link, os.readlink(path))
            elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                file.write(path, name)
            else:
                skipped.append(name)
    return skipped


def unpack(archive: Path, folder: Path) -> list[str]:
    """Extract into the folder, overwriting files. Return the names of skipped entries.

    Raises ValueError if the archive is not a valid zip file.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            return [entry.filename for entry in source.infolist() if not _extract_entry(source, entry, folder)]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from None


def _extract_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> bool:
    """Extract an entry and return True. Return False if the entry would leave the folder or change `.git`."""
    parts = PurePosixPath(entry.filename).parts
    path, mode = folder.joinpath(*parts), entry.external_attr >> 16
    if not parts or parts[0] == GIT_DIRECTORY or ".." in parts or not _is_inside(folder, path.parent):
        return False
    if entry.is_dir():
        if not _is_inside(folder, path):
            return False
        path.mkdir(parents=True, exist_ok=True)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    if stat.S_ISLNK(mode):
        target = source.read(entry).decode()
        if not _is_inside(folder, path.parent / target):
            return False
        path.symlink_to(target)
        return True
    with source.open(entry) as content, path.open("xb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(stat.S_IMODE(mode) & 0o777 or 0o644)
    return True


def _is_inside(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
