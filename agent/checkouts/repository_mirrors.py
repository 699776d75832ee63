"""Mirrors of repositories on this machine, so that a job fetches only commits that no earlier job has fetched.

A mirror belongs to one project: it has only commits that were fetched with the credentials of this project's jobs. Jobs
never access a mirror. They receive its packs as copies, or as links to files that they cannot change.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from agent.checkouts.git_commands import GitCommands
from agent.config import Config
from agent.protocol.job import Job, Source
from libs.git_env import split_credentials, upload_pack_args

MIRROR_DIRECTORY = "mirrors"
MAX_MIRRORS = 1000
MAX_UNUSED_SECONDS = 30 * 24 * 3600
MAX_PACKS = 16  # each fetch adds a pack; more packs are combined to one, which has only the newest commits
LOCK_POLL_SECONDS = 0.05
COMPLETE = "HEAD"  # the ref refs/jobs/<commit>/HEAD exists if the commit was fetched completely
SIMPLE_REFSPEC = re.compile(r"\+?([^:*+]+):refs/([^:*]+)")


def _lock_file(path: Path, *, exclusive: bool) -> int | None:
    """Lock a file without waiting. Return its descriptor, or None if it is locked or was removed."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


class RepositoryMirror:
    """The mirror of one repository, for one project and one depth of history."""

    def __init__(self, root: Path, key: str, depth: int) -> None:
        self.folder = root / key
        self._lock_path = root / f"{key}.lock"
        self._depth = depth

    @asynccontextmanager
    async def lock(self, *, exclusive: bool) -> AsyncIterator[None]:
        while (handle := _lock_file(self._lock_path, exclusive=exclusive)) is None:  # noqa: ASYNC110 - no event exists
            await asyncio.sleep(LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Lock the mirror for its removal, without waiting. Yield False if a job uses it."""
        handle = _lock_file(self._lock_path, exclusive=True)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                os.close(handle)

    def has(self, sha: str) -> bool:
        return (self.folder / "refs/jobs" / sha / COMPLETE).is_file()

    def size(self) -> int:
        return sum(path.stat().st_size for path in self._packs())

    def mark_used(self) -> None:
        os.utime(self.folder)

    def remove(self) -> None:
        """Remove the mirror. Call it with the exclusive lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock_path.unlink(missing_ok=True)

    async def fetch(self, git: GitCommands, environment: Mapping[str, str], source: Source) -> bool:
        """Fetch the commit, and return whether that succeeded. Call it with the exclusive lock.

        If the fetch into the existing mirror fails, fetch into a new mirror, which replaces the old one when it is
        complete.
        """
        if self.folder.is_dir():
            self._remove_remains(source.sha)
            await self._combine_packs(git, environment)
        if self.folder.is_dir():
            git.folder = self.folder
            if await self._fetch_into(git, environment, source):
                return True
        new = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        git.folder = new
        try:
            object_format = ["--object-format=sha256"] if len(source.sha) == 64 else []
            created = await git.run(environment, "init", "--quiet", "--bare", "--template=", *object_format, ".")
            if not (created and await self._fetch_into(git, environment, source)):
                return False
            shutil.rmtree(self.folder, ignore_errors=True)
            new.rename(self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return True

    async def _fetch_into(self, git: GitCommands, environment: Mapping[str, str], source: Source) -> bool:
        sha, url = source.sha, split_credentials(source.url)[0]
        fetch = ["fetch", "--quiet", "--no-tags", *upload_pack_args(source.url)]
        refs = f"refs/jobs/{sha}"
        parsed = [match for refspec in source.refspecs if (match := SIMPLE_REFSPEC.fullmatch(refspec))]
        all_refs = [f"+{match[1]}:{refs}/{match[2]}" for match in parsed]
        by_hash = [f"+{match[1]}:{refs}/{match[2]}" for match in parsed if match[1] == sha]
        from_hash = [f"+{sha}:{refs}/{COMPLETE}", *by_hash]
        # each can fail: a server may not serve commits by hash, and a branch may no longer contain the commit
        attempts = [all_refs, from_hash]
        if self._depth > 0:
            attempts = [[f"--depth={self._depth}", *from_hash], all_refs]
        for attempt in filter(None, attempts):
            git.forget_output()
            if await git.run(environment, *fetch, url, *attempt) and (
                (git.folder / refs / COMPLETE).is_file()
                or await git.run(environment, "update-ref", f"{refs}/{COMPLETE}", f"{sha}^{{commit}}")
            ):
                return True
        return False

    async def _combine_packs(self, git: GitCommands, environment: Mapping[str, str]) -> None:
        """If there are too many packs, keep only the newest commits, in one pack. If that fails, remove the mirror."""
        if sum(path.suffix == ".pack" for path in self._packs()) <= MAX_PACKS:
            return
        commits = sorted((self.folder / "refs/jobs").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for commit in commits[MAX_PACKS:]:
            shutil.rmtree(commit)
        git.folder = self.folder
        combined = await git.run(environment, "repack", "-a", "-d", "-q")
        if not (combined and await git.run(environment, "prune", "--expire=now")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def copy_to(self, git_directory: Path, sha: str, *, link: bool) -> None:
        """Put the packs and the refs of a commit into a new repository. `link` prefers hard links to copies."""
        packs = git_directory / "objects/pack"
        packs.mkdir(parents=True, exist_ok=True)
        for pack in self._packs():
            _link_or_copy(pack, packs / pack.name, link=link)
        with suppress(FileNotFoundError):
            shutil.copyfile(self.folder / "shallow", git_directory / "shallow")
        refs = self.folder / "refs/jobs" / sha
        for ref in refs.rglob("*"):
            if ref.is_file() and ref != refs / COMPLETE:
                target = git_directory / "refs" / ref.relative_to(refs)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ref, target)

    def _packs(self) -> list[Path]:
        return list((self.folder / "objects/pack").glob("pack-*"))

    def _remove_remains(self, sha: str) -> None:
        """Remove the commit's refs, and lock files and incomplete packs of a git command that was killed."""
        shutil.rmtree(self.folder / "refs/jobs" / sha, ignore_errors=True)
        for path in (*self.folder.glob("*.lock"), *(self.folder / "objects/pack").glob("tmp_*")):
            path.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path, *, link: bool) -> None:
    if link:
        with suppress(OSError):  # another file system, or too many links
            os.link(source, target)
            return
    shutil.copyfile(source, target)


class RepositoryMirrors:
    """All mirrors of an agent. The least recently used are removed first."""

    def __init__(self, config: Config) -> None:
        self._root = Path(config.builds_dir, MIRROR_DIRECTORY)
        self._max_bytes = config.mirror_megabytes * 1024 * 1024
        self._server = config.url

    def select(self, job: Job, source: Source, depth: int) -> RepositoryMirror | None:
        """Return the mirror for a job, or None if mirrors are disabled or cannot serve this job."""
        if not (self._max_bytes and job.project_id and all(map(SIMPLE_REFSPEC.fullmatch, source.refspecs))):
            return None
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        url, _ = split_credentials(source.url)
        key = hashlib.sha256(repr((self._server, job.project_id, url, depth, len(source.sha))).encode()).hexdigest()
        return RepositoryMirror(self._root, key, depth)

    def evict(self) -> None:
        """Remove mirrors that were not used for a long time or that exceed the limits, unless a job uses them."""
        folders = [path for path in self._root.iterdir() if path.suffix != ".lock"]
        used = sorted(((path.stat().st_mtime, path) for path in folders), reverse=True)
        total, oldest = 0, time.time() - MAX_UNUSED_SECONDS
        for number, (last_used, folder) in enumerate(used):
            mirror = RepositoryMirror(self._root, folder.stem, 0)
            total += RepositoryMirror(self._root, folder.name, 0).size()
            if total > self._max_bytes or number >= MAX_MIRRORS or last_used < oldest:
                with mirror.try_lock() as is_free:
                    if is_free:
                        shutil.rmtree(folder, ignore_errors=True)
                        mirror.remove()
