"""Zip archives of a job's folder: what is found by patterns goes in, and nothing leads out of the folder."""

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
MATCH_NOTHING = r"[^\x00-\x{10FFFF}]"  # no character is in it


class ArchiveCanceled(Exception):
    """Whoever wanted the archive does not wait for it any more."""


def _normalize_pattern(folder: Path, pattern: str) -> str:
    """Slashes at the end and dots at the start mean nothing; the folder's own path may stand in front."""
    inside = os.path.normpath(pattern.removeprefix(f"{folder}/"))
    return "**" if inside == "." else inside


def compile_patterns(folder: Path, patterns: Iterable[str], *, include_contents: bool) -> "re2._Regexp":
    """In time linear to the names (RE2): a job's patterns must not stop the agent, which has other jobs.

    `deep`: a folder means all that is in it. Raises ValueError for a pattern that makes no sense.
    """
    ways = "|".join(glob_to_regex(_normalize_pattern(folder, pattern)) for pattern in patterns if pattern.strip())
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        return re2.compile(f"(?:{ways}){'(?:/.*)?' if include_contents else ''}" if ways else MATCH_NOTHING, options)
    except re2.error as error:
        raise ValueError(f"a pattern of the artifacts makes no sense: {_error_text(error)}") from None


def _error_text(error: Exception) -> str:
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def find_files(
    folder: Path, paths: Sequence[str], exclude: Sequence[str], extra_names: Iterable[str] = ()
) -> list[str]:
    """Names below the folder, sorted; `also` are names that no pattern needs to match."""
    wanted, unwanted = (
        compile_patterns(folder, paths, include_contents=True),
        compile_patterns(folder, exclude, include_contents=False),
    )
    named = set(extra_names)
    return sorted(
        name
        for name in _walk_names(folder)
        if _is_unicode(name) and (wanted.fullmatch(name) or name in named) and not unwanted.fullmatch(name)
    )


def _is_unicode(name: str) -> bool:
    """Archives hold names in Unicode only."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk_names(folder: Path) -> Iterator[str]:
    """Links are names, whatever they lead to; a folder that was replaced by one holds nothing."""
    if folder.is_symlink():
        return
    for place, folders, files in os.walk(folder):
        inside = PurePosixPath(place).relative_to(folder)
        if inside == PurePosixPath():
            folders[:] = [each for each in folders if each != GIT_DIRECTORY]
        yield from (str(inside / each) for each in (*folders, *files))


def pack(folder: Path, names: Iterable[str], archive: Path, stop: Event, *, level: int | None = None) -> list[str]:
    """Write the archive; answers the names that were left out: sockets, pipes, and links that lead out."""
    left_out = []
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=level, strict_timestamps=False) as into:
        for name in names:
            if stop.is_set():
                raise ArchiveCanceled
            path = folder / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and _is_inside(folder, path.parent / os.readlink(path)):
                link = zipfile.ZipInfo(name)
                link.external_attr = mode << 16
                into.writestr(link, os.readlink(path))
            elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                into.write(path, name)
            else:
                left_out.append(name)
    return left_out


def unpack(archive: Path, folder: Path) -> list[str]:
    """Into the folder, over what is there; answers the names that were left out. Raises ValueError if it is no zip."""
    try:
        with zipfile.ZipFile(archive) as source:
            return [one.filename for one in source.infolist() if not _extract_entry(source, one, folder)]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ValueError(f"the archive cannot be read: {error}") from None


def _extract_entry(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> bool:
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
