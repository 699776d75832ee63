"""Branches of local repositories: resolved to commits by reading ref files, or with git."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from services.builds.planning.git_process import LIST_TIMEOUT_SECONDS, run_git

COMMIT_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


class NoSuchRef(Exception):
    """The repository has no such branch or commit."""


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    """A ref and the commit it names."""

    sha: str
    ref: str  # refs/heads/...


async def resolve_local(path: str, ref_name: str) -> ResolvedRef:
    """Resolve a branch of a local repository: from its files if possible, else with git."""
    if resolved := await asyncio.to_thread(_resolve_from_files, Path(path), ref_name):
        return resolved
    if ref_name == "HEAD":
        ref_name = (await run_git("", None, LIST_TIMEOUT_SECONDS, "-C", path, "symbolic-ref", "HEAD")).decode().strip()
    listing = ["-C", path, "for-each-ref", "--format=%(objectname) %(refname)", ref_name]
    output = await run_git("", None, LIST_TIMEOUT_SECONDS, *listing)
    for line in output.decode().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == ref_name:
            return ResolvedRef(sha, ref)
    raise NoSuchRef(f"the branch {ref_name.removeprefix('refs/heads/')} does not exist")


def _resolve_from_files(folder: Path, ref_name: str) -> ResolvedRef | None:
    """Resolve a branch by reading the repository's ref files. Return None if only git can resolve it."""
    inside = folder / ".git" if (folder / ".git").is_dir() else folder
    try:
        if ref_name == "HEAD":
            ref_name = _read_text(inside / "HEAD").removeprefix("ref: ").strip()
        if normpath(ref_name) != ref_name or not ref_name.startswith("refs/heads/"):
            return None
        # loose refs first, as git does: a ref is packed before its loose file is removed
        sha = _read_text(inside / ref_name).strip()
        if not sha:
            packed = (line.partition(" ") for line in _read_text(inside / "packed-refs").splitlines())
            sha = next((sha for sha, _, ref in packed if ref == ref_name), "")
    except (OSError, ValueError):
        return None
    return ResolvedRef(sha, ref_name) if COMMIT_HASH.fullmatch(sha) else None


def _read_text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""
