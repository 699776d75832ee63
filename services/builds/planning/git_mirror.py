"""What a build needs of a git repository before it runs: the commit of a branch, and one file of it."""

import asyncio
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from weakref import WeakValueDictionary

from cachetools import LRUCache

from libs import git_env
from libs.observability.tracing import child_span
from libs.security.masking import SecretMasker
from services.builds.planning.git_protocol import VERSION_WITHOUT_REFS, read_protocol_version
from services.builds.planning.mirror_eviction import find_evictable_mirrors, mark_used

LIST_TIMEOUT_SECONDS = 60
FETCH_TIMEOUT_SECONDS = 300
UNLIMITED_DEPTH = 2**31 - 1  # commits; what git itself calls infinite
MAX_MESSAGE_BYTES = 16 * 1024  # bytes
MAX_CACHE_BYTES = 16 * 1024 * 1024  # of spec files and included files
MAX_MIRROR_BYTES = 4 * 1024**3  # of all bare copies
EVICTION_INTERVAL_SECONDS = 60.0  # seconds
SERVES_COMMITS_MARKER = (
    "headrace-serves-commits"  # a file in the copy of a repository whose server gives commits by their hash
)
COMMIT_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSH_AUTH_SOCK")


class RepositoryUnreachable(Exception):
    """Git could not read the repository; the text is git's own, without credentials."""


class NoSuchRef(Exception):
    """The repository has no such branch or commit."""


class NoSuchFile(Exception):
    """The commit has no such file."""


@dataclass(frozen=True, slots=True)
class ResolvedRef:
    sha: str
    ref: str  # refs/heads/...


class GitMirrors:
    """Bare copies under one folder, one per address, only ever used by this process, and of bounded size."""

    def __init__(self, folder: Path, max_bytes: int = MAX_MIRROR_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by the name of the copy
        self._file_cache: LRUCache[tuple[str, str, str], bytes] = LRUCache(MAX_CACHE_BYTES, getsizeof=len)
        self._evicted_at = -EVICTION_INTERVAL_SECONDS  # by the monotonic clock

    async def resolve(self, url: str, branch: str, ssh_key: str | None = None) -> ResolvedRef:
        """The newest commit of a branch; `*` means the default branch."""
        wanted = "HEAD" if branch == "*" else f"refs/heads/{branch}"
        bare, _ = git_env.split_credentials(url)
        if bare.startswith("/"):
            return await _resolve_local(bare, wanted)
        listed = await _run_git(
            url,
            ssh_key,
            LIST_TIMEOUT_SECONDS,
            "ls-remote",
            "--symref",
            *git_env.upload_pack_args(bare),
            "--",
            bare,
            wanted,
        )
        ref, sha = wanted, ""
        for line in listed.decode(errors="replace").splitlines():
            left, _, name = line.partition("\t")
            if left.startswith("ref: ") and name == "HEAD":
                ref = left.removeprefix("ref: ")
            elif name == wanted:
                sha = left
        if not sha:
            raise NoSuchRef("the repository is empty" if branch == "*" else f"the branch {branch} does not exist")
        return ResolvedRef(sha, ref)

    async def read_file(self, url: str, head: ResolvedRef, path: str, ssh_key: str | None = None) -> bytes:
        """The content of a file at a commit. Raises NoSuchFile; IsADirectoryError where it is no plain file."""
        key = (url, head.sha, path)
        if (known := self._file_cache.get(key)) is not None:
            return known
        async with self._mirror_with_commit(url, head, ssh_key) as copy:
            content = await _read_blob(copy, head.sha, path)
        if len(content) <= MAX_CACHE_BYTES:
            self._file_cache[key] = content
        return content

    async def read_message(self, url: str, head: ResolvedRef) -> str:
        """Of a commit whose files were read before."""
        bare, _ = git_env.split_credentials(url)
        copy = self._mirror_path(bare)
        async with self._lock_for(copy):
            if not await _has_commit(copy, head.sha):
                return ""  # somebody cleared the copy away
            text = await _run_git(
                "", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(copy), "log", "-1", "--format=%B", head.sha, "--"
            )
        return text[:MAX_MESSAGE_BYTES].decode(errors="replace").strip("\n")

    def serves_commits(self, url: str) -> bool:
        """Return whether the server gave a commit by its hash when one was last fetched, also if no ref named it."""
        bare, _ = git_env.split_credentials(url)
        return (self._mirror_path(bare) / SERVES_COMMITS_MARKER).exists()

    async def list_files(self, url: str, head: ResolvedRef, ssh_key: str | None = None) -> dict[str, str]:
        """All files of a commit: path and id of the content."""
        async with self._mirror_with_commit(url, head, ssh_key) as copy:
            listed = await _run_git(
                "", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(copy), "ls-tree", "-r", "-z", head.sha
            )
        entries = (line.decode(errors="replace").partition("\t") for line in listed.split(b"\0") if line)
        return {path: about.split()[2] for about, _, path in entries}

    async def list_changed_paths(
        self, url: str, head: ResolvedRef, before_sha: str, ssh_key: str | None = None
    ) -> frozenset[str] | None:
        """Paths that differ from the commit before a push, or else from the first parent; None: there is neither."""
        bare, _ = git_env.split_credentials(url)
        async with self._mirror_with_commit(url, head, ssh_key) as copy:
            folder = ["--git-dir", str(copy)]
            fetch = [*folder, "fetch", "--quiet", "--no-tags"]
            source = [*git_env.upload_pack_args(bare), "--", bare]
            for depth, wanted in (
                (1, before_sha),
                (UNLIMITED_DEPTH, head.ref),
            ):  # some servers do not give a bare commit
                if before_sha and not await _has_commit(copy, before_sha):
                    with suppress(RepositoryUnreachable):  # overwritten by force
                        await _run_git(url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, f"--depth={depth}", *source, wanted)
            if not before_sha or not await _has_commit(copy, before_sha):
                before_sha = f"{head.sha}^"
                for wanted in (head.sha, head.ref):
                    if not await _has_commit(copy, before_sha):
                        with suppress(RepositoryUnreachable):
                            await _run_git(url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, "--depth=2", *source, wanted)
                if not await _has_commit(copy, before_sha):
                    return None
            compare = [*folder, "diff-tree", "-r", "-z", "--name-only", "--no-renames", before_sha, head.sha]
            listed = await _run_git("", None, LIST_TIMEOUT_SECONDS, *compare)
        return frozenset(path.decode(errors="replace") for path in listed.split(b"\0") if path)

    @asynccontextmanager
    async def _mirror_with_commit(self, url: str, head: ResolvedRef, ssh_key: str | None) -> AsyncIterator[Path]:
        """The copy, with the commit in it, for nobody else meanwhile."""
        bare, _ = git_env.split_credentials(url)
        copy = self._mirror_path(bare)
        async with self._lock_for(copy):
            fetched = await self._ensure_commit(url, bare, copy, head, ssh_key)
            await asyncio.to_thread(mark_used, copy)
            yield copy
        if fetched:
            await self._evict()

    async def _evict(self) -> None:
        """Copies grow by fetching only. One that is in use is spared until the next time."""
        if time.monotonic() - self._evicted_at < EVICTION_INTERVAL_SECONDS:
            return
        self._evicted_at = time.monotonic()
        for copy in await asyncio.to_thread(find_evictable_mirrors, self._folder, self._max_bytes):
            lock = self._lock_for(copy)
            if not lock.locked():
                async with lock:
                    await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    def _lock_for(self, copy: Path) -> asyncio.Lock:
        return self._locks.setdefault(copy.name, asyncio.Lock())

    def _mirror_path(self, bare: str) -> Path:
        return self._folder / hashlib.sha256(bare.encode()).hexdigest()[:24]

    async def _ensure_commit(self, url: str, bare: str, copy: Path, head: ResolvedRef, ssh_key: str | None) -> bool:
        """Fetch the commit unless the copy has it. Returns whether something was fetched."""
        if await _has_commit(copy, head.sha):
            return False
        used_before = await asyncio.to_thread(copy.exists)
        try:
            with child_span("git fetch"):
                await self._fetch(url, bare, copy, head, ssh_key)
        except RepositoryUnreachable:
            if not used_before:
                raise
            # a git that was killed leaves locks, or half a copy, and nobody but us would ever clear them away
            await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
            await self._fetch(url, bare, copy, head, ssh_key)
        if not await _has_commit(copy, head.sha):
            raise NoSuchRef(f"the commit {head.sha} does not exist in {head.ref.removeprefix('refs/heads/')}")
        return True

    async def _fetch(self, url: str, bare: str, copy: Path, head: ResolvedRef, ssh_key: str | None) -> None:
        await _run_git(url, None, LIST_TIMEOUT_SECONDS, "init", "--quiet", "--bare", str(copy))
        fetch = ["--git-dir", str(copy), "fetch", "--quiet", "--no-tags"]
        source = [*git_env.upload_pack_args(bare), "--", bare]
        mark = copy / SERVES_COMMITS_MARKER
        known = mark.exists()
        mark.unlink(missing_ok=True)
        try:
            served = await self._fetch_commit(url, [*fetch, "--depth=1", *source], head.sha, ssh_key)
            if served and not known and (parent := await _first_parent(copy, head.sha)):
                with suppress(
                    RepositoryUnreachable
                ):  # that it gave the head of a branch says nothing about other commits
                    known = await self._fetch_commit(url, [*fetch, "--depth=1", *source], parent, ssh_key)
            if served and known:
                mark.touch()
        except RepositoryUnreachable:
            # some servers do not give a bare commit: take the branch, and all of it where it has moved on
            await _run_git(url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, "--depth=1", *source, head.ref)
            if not await _has_commit(copy, head.sha):
                await _run_git(
                    url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, f"--depth={UNLIMITED_DEPTH}", *source, head.ref
                )

    async def _fetch_commit(self, url: str, fetch: list[str], sha: str, ssh_key: str | None) -> bool:
        """Fetch a commit by its hash. Return whether it was asked for in a protocol that makes no use of refs."""
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace")
            await _run_git(url, ssh_key, FETCH_TIMEOUT_SECONDS, *fetch, sha, trace=trace)
            return read_protocol_version(trace) == VERSION_WITHOUT_REFS


async def _resolve_local(path: str, wanted: str) -> ResolvedRef:
    """The same, for a folder of this machine: git's own files tell it mostly, and if not one or two small processes."""
    if head := await asyncio.to_thread(_resolve_from_files, Path(path), wanted):
        return head
    if wanted == "HEAD":
        wanted = (await _run_git("", None, LIST_TIMEOUT_SECONDS, "-C", path, "symbolic-ref", "HEAD")).decode().strip()
    listed = await _run_git(
        "", None, LIST_TIMEOUT_SECONDS, "-C", path, "for-each-ref", "--format=%(objectname) %(refname)", wanted
    )
    for line in listed.decode().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == wanted:
            return ResolvedRef(sha, ref)
    raise NoSuchRef(f"the branch {wanted.removeprefix('refs/heads/')} does not exist")


def _resolve_from_files(folder: Path, wanted: str) -> ResolvedRef | None:
    """From a repository whose references are plain files; nothing where only git can tell."""
    inside = folder / ".git" if (folder / ".git").is_dir() else folder
    try:
        if wanted == "HEAD":
            wanted = _read_text(inside / "HEAD").removeprefix("ref: ").strip()
        if normpath(wanted) != wanted or not wanted.startswith("refs/heads/"):
            return None
        sha = _read_text(inside / wanted).strip()  # first, as git does it: it is packed before it leaves this place
        if not sha:
            packed = (line.partition(" ") for line in _read_text(inside / "packed-refs").splitlines())
            sha = next((sha for sha, _, ref in packed if ref == wanted), "")
    except (OSError, ValueError):
        return None
    return ResolvedRef(sha, wanted) if COMMIT_HASH.fullmatch(sha) else None


def _read_text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""


async def _has_commit(copy: Path, sha: str) -> bool:
    try:
        await _run_git("", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(copy), "cat-file", "-e", f"{sha}^{{commit}}")
    except RepositoryUnreachable:
        return False
    return True


async def _first_parent(copy: Path, sha: str) -> str:
    """Return the first parent's hash, also where history ends with this commit here; empty for a first commit."""
    header = (
        await _run_git("", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(copy), "cat-file", "commit", sha)
    ).partition(b"\n\n")[0]
    return next((line[7:].decode() for line in header.splitlines() if line.startswith(b"parent ")), "")


async def _read_blob(copy: Path, sha: str, path: str) -> bytes:
    plain = normpath(path.strip("/"))  # git would list what is in a folder whose name ends with a slash
    if plain == ".":
        raise IsADirectoryError(path)
    if plain.split("/")[0] == "..":
        raise NoSuchFile(path)
    listing = ["--git-dir", str(copy), "--literal-pathspecs", "ls-tree", "-z", sha, "--", plain]
    listed = await _run_git("", None, LIST_TIMEOUT_SECONDS, *listing)
    entry = listed.split(b"\0", 1)[0]
    if not entry:
        raise NoSuchFile(path)
    mode, kind, blob = entry.split(b"\t", 1)[0].split()
    if kind != b"blob" or mode == b"120000":
        raise IsADirectoryError(path)
    return await _run_git("", None, LIST_TIMEOUT_SECONDS, "--git-dir", str(copy), "cat-file", "blob", blob.decode())


async def _run_git(url: str, ssh_key: str | None, seconds: float, *arguments: str, trace: Path | None = None) -> bytes:
    """Run git; its output, or Unreachable with its last words. `trace` is a file for git's own events."""
    try:
        return await _run_with_key(url, ssh_key, seconds, arguments, trace)
    except RepositoryUnreachable as error:
        _, login = git_env.split_credentials(url)
        words, _ = SecretMasker(git_env.extract_secrets(login)).apply(
            str(error).encode(), final=True
        )  # a server may repeat it
        raise RepositoryUnreachable(words.decode()) from None


async def _run_with_key(
    url: str, ssh_key: str | None, seconds: float, arguments: tuple[str, ...], trace: Path | None
) -> bytes:
    traced = {} if trace is None else {"GIT_TRACE2_EVENT": str(trace)}
    if ssh_key is None:
        return await _run_in_thread(git_env.build_environment(url, None) | traced, seconds, arguments)
    with tempfile.TemporaryDirectory() as private:
        key = Path(private) / "key"
        key.touch(mode=0o600)
        key.write_text(ssh_key if ssh_key.endswith("\n") else f"{ssh_key}\n")
        return await _run_in_thread(git_env.build_environment(url, key) | traced, seconds, arguments)


async def _run_in_thread(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    """In a thread: starting a process this way costs a fraction of what the event loop's own way does."""
    return await asyncio.to_thread(_run_and_wait, variables, seconds, arguments)


def _run_and_wait(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    if arguments[0] == "-C":
        inherited["GIT_CEILING_DIRECTORIES"] = str(Path(arguments[1]).parent)  # this folder, not one around it
    process = subprocess.Popen(
        ["git", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=inherited | variables,
        start_new_session=True,  # its helpers end with it
    )
    try:
        output, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RepositoryUnreachable(f"git did not come to an end within {seconds:g} seconds") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise RepositoryUnreachable(_last_lines(complaint))
    return output


def _last_lines(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-5:]) or "git failed without a word"
