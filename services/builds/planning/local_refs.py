"""Branches of local repositories: resolved to commits with git."""

from dataclasses import dataclass

from services.builds.planning.git_process import LIST_TIMEOUT_SECONDS, run_git


class NoSuchRef(Exception):
    pass


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    sha: str
    ref: str  # refs/heads/...


async def resolve_local(path: str, ref_name: str) -> ResolvedRef:
    """Resolve a branch of a local repository, without `ls-remote`, which starts two more processes."""
    if ref_name == "HEAD":
        ref_name = (await run_git("", None, LIST_TIMEOUT_SECONDS, "-C", path, "symbolic-ref", "HEAD")).decode().strip()
    listing = ["-C", path, "for-each-ref", "--format=%(objectname) %(refname)", ref_name]
    output = await run_git("", None, LIST_TIMEOUT_SECONDS, *listing)
    for line in output.decode().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == ref_name:
            return ResolvedRef(sha, ref)
    raise NoSuchRef(f"the branch {ref_name.removeprefix('refs/heads/')} does not exist")
