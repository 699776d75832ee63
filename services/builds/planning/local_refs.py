"""Branches of local repositories: resolved to commits from a ref's file or with git."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath

from services.builds.planning.git_process import LIST_TIMEOUT_SECONDS, run_git

COMMIT_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


class NoSuchRef(Exception):
    pass


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    sha: str
    ref: str  # full name, such as refs/heads/main


async def resolve_local(path: str, ref_name: str) -> ResolvedRef:
    """Return the commit of a ref of a local repository. Raises NoSuchRef and RepositoryUnreachable.

    It does not use `git ls-remote`, which starts two more processes.
    """
    if sha := await asyncio.to_thread(_read_loose_ref, Path(path), ref_name):
        return ResolvedRef(sha, ref_name)
    if ref_name == "HEAD":
        ref_name = (await run_git("", None, LIST_TIMEOUT_SECONDS, "-C", path, "symbolic-ref", "HEAD")).decode().strip()
    listing = ["-C", path, "for-each-ref", "--format=%(objectname) %(refname)", ref_name]
    output = await run_git("", None, LIST_TIMEOUT_SECONDS, *listing)
    for line in output.decode().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == ref_name:
            return ResolvedRef(sha, ref)
    raise NoSuchRef(f"the branch {ref_name.removeprefix('refs/heads/')} does not exist")


def _read_loose_ref(repository: Path, ref_name: str) -> str:
    """Return the commit in the branch's own file, which git reads before any other storage of refs.

    Empty if there is no such file, as for packed refs, reftables and linked worktrees: then only git knows the commit.
    """
    if not ref_name.startswith("refs/heads/") or normpath(ref_name) != ref_name:
        return ""
    folder = repository / ".git" if (repository / ".git").is_dir() else repository
    file = folder / ref_name
    try:
        content = file.read_text("ascii").strip() if file.is_file() else ""
    except (OSError, ValueError):
        return ""
    return content if COMMIT_HASH.fullmatch(content) else ""
