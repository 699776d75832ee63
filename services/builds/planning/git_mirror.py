"""Git mirrors: resolve branches to commits and read files, trees and changes from bare copies of repositories."""

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from posixpath import normpath
from weakref import WeakValueDictionary

from cachetools import LRUCache

from libs import git_env
from libs.observability.tracing import child_span
from libs.settings import RepositoryNetwork
from services.builds.planning.git_process import (
    FETCH_TIMEOUT_SECONDS,
    LIST_TIMEOUT_SECONDS,
    RepositoryUnreachable,
    run_git,
    run_local_git,
)
from services.builds.planning.git_protocol import VERSION_WITHOUT_REFS, read_protocol_version
from services.builds.planning.local_refs import NoSuchRef, ResolvedRef, resolve_local
from services.builds.planning.mirror_eviction import find_evictable_mirrors, mark_used
from services.builds.planning.remote_git import RemoteGit

UNLIMITED_DEPTH = 2**31 - 1  # git's own value for unlimited depth
MAX_MESSAGE_BYTES = 16 * 1024
MAX_CACHE_BYTES = 16 * 1024 * 1024  # cached spec files and included files together
MAX_MIRROR_BYTES = 4 * 1024**3  # size of all mirrors together
EVICTION_INTERVAL_SECONDS = 60.0
SERVES_COMMITS_MARKER = "headrace-serves-commits"  # file in the mirror if the server serves commits by their hash


class NoSuchFile(Exception):
    pass


class GitMirrors:
    """Bare mirrors in one folder, one per URL, used by this process only and limited in size."""

    def __init__(
        self, folder: Path, max_bytes: int = MAX_MIRROR_BYTES, networks: Sequence[RepositoryNetwork] = ()
    ) -> None:
        """`networks`: the networks in which servers of repositories may be. Empty: all networks."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._remote = RemoteGit(networks)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # mirror name -> lock
        self._file_cache: LRUCache[tuple[str, str, str], bytes] = LRUCache(MAX_CACHE_BYTES, getsizeof=len)
        self._evicted_at = -EVICTION_INTERVAL_SECONDS  # monotonic time of the last eviction

    async def resolve(self, url: str, branch: str, ssh_key: str | None = None) -> ResolvedRef:
        """Return the newest commit of a branch; `*` is the default branch.

        Raises NoSuchRef and RepositoryUnreachable.
        """
        return await self.resolve_ref(url, "HEAD" if branch == "*" else f"refs/heads/{branch}", ssh_key)

    async def resolve_ref(self, url: str, ref_name: str, ssh_key: str | None = None) -> ResolvedRef:
        """Return the hash to which a ref points: `refs/...` or HEAD. It can be the hash of an annotated tag.

        Raises NoSuchRef and RepositoryUnreachable.
        """
        bare_url, _ = git_env.split_credentials(url)
        if bare_url.startswith("/"):
            return await resolve_local(bare_url, ref_name)
        listing = ["ls-remote", "--symref", *git_env.upload_pack_args(bare_url), "--", bare_url, ref_name]
        output = await self._remote.run(url, ssh_key, LIST_TIMEOUT_SECONDS, *listing)
        ref, sha = ref_name, ""
        for line in output.decode(errors="replace").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: ") and name == "HEAD":
                ref = value.removeprefix("ref: ")
            elif name == ref_name:
                sha = value
        if not sha:
            name = ref_name.removeprefix("refs/heads/")
            raise NoSuchRef("the repository is empty" if ref_name == "HEAD" else f"the branch {name} does not exist")
        return ResolvedRef(sha, ref)

    async def read_file(self, url: str, resolved: ResolvedRef, path: str, ssh_key: str | None = None) -> bytes:
        """Return the content of a file at a commit.

        Raises NoSuchFile, IsADirectoryError if it is not a plain file, NoSuchRef or RepositoryUnreachable.
        """
        key = (url, resolved.sha, path)
        if (cached := self._file_cache.get(key)) is not None:
            return cached
        async with self._mirror_with_commit(url, resolved, ssh_key) as mirror:
            content = await _read_blob(mirror, resolved.sha, path)
        if len(content) <= MAX_CACHE_BYTES:
            self._file_cache[key] = content
        return content

    async def peel(self, url: str, resolved: ResolvedRef, ssh_key: str | None = None) -> ResolvedRef:
        """Return the ref with the hash of its commit. `resolved` may have the hash of an annotated tag instead.

        Raises NoSuchRef and RepositoryUnreachable.
        """
        async with self._mirror_with_commit(url, resolved, ssh_key) as mirror:
            output = await run_local_git(mirror, "rev-parse", "--verify", f"{resolved.sha}^{{commit}}")
        return ResolvedRef(output.decode().strip(), resolved.ref)

    async def read_message(self, url: str, resolved: ResolvedRef) -> str:
        """Return the message of a commit that was fetched before, or an empty text if its mirror was evicted."""
        bare_url, _ = git_env.split_credentials(url)
        mirror = self._mirror_path(bare_url)
        async with self._lock_for(mirror):
            if not await _has_commit(mirror, resolved.sha):
                return ""
            text = await run_local_git(mirror, "log", "-1", "--format=%B", resolved.sha, "--")
        return text[:MAX_MESSAGE_BYTES].decode(errors="replace").strip("\n")

    def serves_commits(self, url: str) -> bool:
        """Return whether the server served commits by their hash at the last fetch, even if no ref names them."""
        bare_url, _ = git_env.split_credentials(url)
        return (self._mirror_path(bare_url) / SERVES_COMMITS_MARKER).exists()

    async def list_files(self, url: str, resolved: ResolvedRef, ssh_key: str | None = None) -> dict[str, str]:
        """Return all files of a commit: path -> blob id. Raises NoSuchRef and RepositoryUnreachable."""
        async with self._mirror_with_commit(url, resolved, ssh_key) as mirror:
            output = await run_local_git(mirror, "ls-tree", "-r", "-z", resolved.sha)
        entries = (line.decode(errors="replace").partition("\t") for line in output.split(b"\0") if line)
        return {path: attributes.split()[2] for attributes, _, path in entries}

    async def list_changed_paths(
        self, url: str, resolved: ResolvedRef, before_sha: str, ssh_key: str | None = None
    ) -> frozenset[str] | None:
        """Return the paths changed since the commit before the push or, if it is missing, since the first parent.

        Return None if there is neither. Raises NoSuchRef and RepositoryUnreachable.
        """
        bare_url, _ = git_env.split_credentials(url)
        async with self._mirror_with_commit(url, resolved, ssh_key) as mirror:
            fetch = ["--git-dir", str(mirror), "fetch", "--quiet", "--no-tags"]
            source = [*git_env.upload_pack_args(bare_url), "--", bare_url]
            # some servers do not serve a commit by its hash: then fetch the ref with its whole history
            for depth, ref_name in ((1, before_sha), (UNLIMITED_DEPTH, resolved.ref)):
                if before_sha and not await _has_commit(mirror, before_sha):
                    with suppress(RepositoryUnreachable):  # after a forced push the commit may no longer exist
                        await self._remote.run(
                            url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, f"--depth={depth}", *source, ref_name
                        )
            if not before_sha or not await _has_commit(mirror, before_sha):
                before_sha = f"{resolved.sha}^"
                for ref_name in (resolved.sha, resolved.ref):
                    if not await _has_commit(mirror, before_sha):
                        with suppress(RepositoryUnreachable):
                            await self._remote.run(
                                url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, "--depth=2", *source, ref_name
                            )
                if not await _has_commit(mirror, before_sha):
                    return None
            compare = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", before_sha, resolved.sha]
            output = await run_local_git(mirror, *compare)
        return frozenset(path.decode(errors="replace") for path in output.split(b"\0") if path)

    @asynccontextmanager
    async def _mirror_with_commit(self, url: str, resolved: ResolvedRef, ssh_key: str | None) -> AsyncIterator[Path]:
        """Lock the mirror, fetch the commit if it is missing, and yield the mirror's path."""
        bare_url, _ = git_env.split_credentials(url)
        mirror = self._mirror_path(bare_url)
        async with self._lock_for(mirror):
            fetched = await self._ensure_commit(url, bare_url, mirror, resolved, ssh_key)
            await asyncio.to_thread(mark_used, mirror)
            yield mirror
        if fetched:
            await self._evict()

    async def _evict(self) -> None:
        """Evict mirrors after a fetch, because only a fetch makes them grow. Mirrors in use are skipped.

        This happens at most once per EVICTION_INTERVAL_SECONDS.
        """
        if time.monotonic() - self._evicted_at < EVICTION_INTERVAL_SECONDS:
            return
        self._evicted_at = time.monotonic()
        for mirror in await asyncio.to_thread(find_evictable_mirrors, self._folder, self._max_bytes):
            lock = self._lock_for(mirror)
            if not lock.locked():
                async with lock:
                    await asyncio.to_thread(shutil.rmtree, mirror, ignore_errors=True)

    def _lock_for(self, mirror: Path) -> asyncio.Lock:
        return self._locks.setdefault(mirror.name, asyncio.Lock())

    def _mirror_path(self, bare_url: str) -> Path:
        return self._folder / hashlib.sha256(bare_url.encode()).hexdigest()[:24]

    async def _ensure_commit(
        self, url: str, bare_url: str, mirror: Path, resolved: ResolvedRef, ssh_key: str | None
    ) -> bool:
        """Fetch the commit unless the mirror has it. Return whether something was fetched."""
        if await _has_commit(mirror, resolved.sha):
            return False
        exists = await asyncio.to_thread(mirror.exists)
        try:
            with child_span("git fetch"):
                await self._fetch(url, bare_url, mirror, resolved, ssh_key)
        except RepositoryUnreachable:
            if not exists:
                raise
            # a killed git leaves lock files or an incomplete mirror, so start over
            await asyncio.to_thread(shutil.rmtree, mirror, ignore_errors=True)
            await self._fetch(url, bare_url, mirror, resolved, ssh_key)
        if not await _has_commit(mirror, resolved.sha):
            raise NoSuchRef(f"the commit {resolved.sha} does not exist in {resolved.ref.removeprefix('refs/heads/')}")
        return True

    async def _fetch(self, url: str, bare_url: str, mirror: Path, resolved: ResolvedRef, ssh_key: str | None) -> None:
        await run_git("", None, LIST_TIMEOUT_SECONDS, "init", "--quiet", "--bare", str(mirror))
        fetch = ["--git-dir", str(mirror), "fetch", "--quiet", "--no-tags"]
        source = [*git_env.upload_pack_args(bare_url), "--", bare_url]
        marker = mirror / SERVES_COMMITS_MARKER
        serves_commits = marker.exists()
        marker.unlink(missing_ok=True)
        try:
            served = await self._fetch_commit(url, [*fetch, "--depth=1", *source], resolved.sha, ssh_key)
            if served and not serves_commits and (parent := await _first_parent(mirror, resolved.sha)):
                # a ref names the head of a branch, so only its parent shows whether the server serves any commit
                with suppress(RepositoryUnreachable):
                    serves_commits = await self._fetch_commit(url, [*fetch, "--depth=1", *source], parent, ssh_key)
            if served and serves_commits:
                marker.touch()
        except RepositoryUnreachable:
            # some servers do not serve a commit by its hash: fetch the ref, with its history if it has moved on
            await self._remote.run(url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, "--depth=1", *source, resolved.ref)
            if not await _has_commit(mirror, resolved.sha):
                await self._remote.run(
                    url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, f"--depth={UNLIMITED_DEPTH}", *source, resolved.ref
                )

    async def _fetch_commit(self, url: str, fetch: list[str], sha: str, ssh_key: str | None) -> bool:
        """Fetch a commit by its hash. Return whether the git protocol version may serve commits that no ref names."""
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace")
            await self._remote.run(
                url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, sha, variables={"GIT_TRACE2_EVENT": str(trace)}
            )
            return read_protocol_version(trace) == VERSION_WITHOUT_REFS


async def _has_commit(mirror: Path, sha: str) -> bool:
    try:
        await run_local_git(mirror, "cat-file", "-e", f"{sha}^{{commit}}")
    except RepositoryUnreachable:
        return False
    return True


async def _first_parent(mirror: Path, sha: str) -> str:
    """Return the hash of the first parent, also at the end of a shallow history. Empty for a root commit."""
    header = (await run_local_git(mirror, "cat-file", "commit", sha)).partition(b"\n\n")[0]
    return next((line[7:].decode() for line in header.splitlines() if line.startswith(b"parent ")), "")


async def _read_blob(mirror: Path, sha: str, path: str) -> bytes:
    plain = normpath(path.strip("/"))  # with a trailing slash git would list the folder's content
    if plain == ".":
        raise IsADirectoryError(path)
    if plain.split("/")[0] == "..":
        raise NoSuchFile(path)
    output = await run_local_git(mirror, "--literal-pathspecs", "ls-tree", "-z", sha, "--", plain)
    entry = output.split(b"\0", 1)[0]
    if not entry:
        raise NoSuchFile(path)
    mode, kind, blob = entry.split(b"\t", 1)[0].split()
    if kind != b"blob" or mode == b"120000":
        raise IsADirectoryError(path)
    return await run_local_git(mirror, "cat-file", "blob", blob.decode())
