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

from libs import git
from libs.masking import Mask
from libs.observability.tracing import child
from services.builds.git_protocol import VERSION_WITHOUT_REFS, protocol_version
from services.builds.mirror_eviction import evictable, mark_used

LIST_SECONDS = 60
FETCH_SECONDS = 300
WHOLE = 2**31 - 1  # commits; what git itself calls infinite
LONGEST_MESSAGE = 16 * 1024  # bytes
MAX_CACHE_BYTES = 16 * 1024 * 1024  # of spec files and included files
MAX_MIRROR_BYTES = 4 * 1024**3  # of all bare copies
EVICTION_INTERVAL = 60.0  # seconds
SERVES_COMMITS = (
    "headrace-serves-commits"  # a file in the copy of a repository whose server gives commits by their hash
)
SHA = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
INHERITED = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSH_AUTH_SOCK")


class Unreachable(Exception):
    """Git could not read the repository; the text is git's own, without credentials."""


class NoSuchRef(Exception):
    """The repository has no such branch or commit."""


class NoSuchFile(Exception):
    """The commit has no such file."""


@dataclass(frozen=True, slots=True)
class Head:
    sha: str
    ref: str  # refs/heads/...


class Repositories:
    """Bare copies under one folder, one per address, only ever used by this process, and of bounded size."""

    def __init__(self, folder: Path, max_bytes: int = MAX_MIRROR_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by the name of the copy
        self._files: LRUCache[tuple[str, str, str], bytes] = LRUCache(MAX_CACHE_BYTES, getsizeof=len)
        self._evicted_at = -EVICTION_INTERVAL  # by the monotonic clock

    async def head(self, url: str, branch: str, ssh_key: str | None = None) -> Head:
        """The newest commit of a branch; `*` means the default branch."""
        wanted = "HEAD" if branch == "*" else f"refs/heads/{branch}"
        bare, _ = git.without_credentials(url)
        if bare.startswith("/"):
            return await _local_head(bare, wanted)
        listed = await _git(
            url, ssh_key, LIST_SECONDS, "ls-remote", "--symref", *git.upload_pack(bare), "--", bare, wanted
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
        return Head(sha, ref)

    async def file(self, url: str, head: Head, path: str, ssh_key: str | None = None) -> bytes:
        """The content of a file at a commit. Raises NoSuchFile; IsADirectoryError where it is no plain file."""
        key = (url, head.sha, path)
        if (known := self._files.get(key)) is not None:
            return known
        async with self._brought(url, head, ssh_key) as copy:
            content = await _read(copy, head.sha, path)
        if len(content) <= MAX_CACHE_BYTES:
            self._files[key] = content
        return content

    async def message(self, url: str, head: Head) -> str:
        """Of a commit whose files were read before."""
        bare, _ = git.without_credentials(url)
        copy = self._copy(bare)
        async with self._lock(copy):
            if not await _has(copy, head.sha):
                return ""  # somebody cleared the copy away
            text = await _git(
                "", None, LIST_SECONDS, "--git-dir", str(copy), "log", "-1", "--format=%B", head.sha, "--"
            )
        return text[:LONGEST_MESSAGE].decode(errors="replace").strip("\n")

    def serves_commits(self, url: str) -> bool:
        """Return whether the server gave a commit by its hash when one was last fetched, also if no ref named it."""
        bare, _ = git.without_credentials(url)
        return (self._copy(bare) / SERVES_COMMITS).exists()

    async def tree(self, url: str, head: Head, ssh_key: str | None = None) -> dict[str, str]:
        """All files of a commit: path and id of the content."""
        async with self._brought(url, head, ssh_key) as copy:
            listed = await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "ls-tree", "-r", "-z", head.sha)
        entries = (line.decode(errors="replace").partition("\t") for line in listed.split(b"\0") if line)
        return {path: about.split()[2] for about, _, path in entries}

    async def changed(self, url: str, head: Head, before: str, ssh_key: str | None = None) -> frozenset[str] | None:
        """Paths that differ from the commit before a push, or else from the first parent; None: there is neither."""
        bare, _ = git.without_credentials(url)
        async with self._brought(url, head, ssh_key) as copy:
            folder = ["--git-dir", str(copy)]
            fetch = [*folder, "fetch", "--quiet", "--no-tags"]
            source = [*git.upload_pack(bare), "--", bare]
            for depth, wanted in ((1, before), (WHOLE, head.ref)):  # some servers do not give a bare commit
                if before and not await _has(copy, before):
                    with suppress(Unreachable):  # overwritten by force
                        await _git(url, ssh_key, FETCH_SECONDS, *fetch, f"--depth={depth}", *source, wanted)
            if not before or not await _has(copy, before):
                before = f"{head.sha}^"
                for wanted in (head.sha, head.ref):
                    if not await _has(copy, before):
                        with suppress(Unreachable):
                            await _git(url, ssh_key, FETCH_SECONDS, *fetch, "--depth=2", *source, wanted)
                if not await _has(copy, before):
                    return None
            compare = [*folder, "diff-tree", "-r", "-z", "--name-only", "--no-renames", before, head.sha]
            listed = await _git("", None, LIST_SECONDS, *compare)
        return frozenset(path.decode(errors="replace") for path in listed.split(b"\0") if path)

    @asynccontextmanager
    async def _brought(self, url: str, head: Head, ssh_key: str | None) -> AsyncIterator[Path]:
        """The copy, with the commit in it, for nobody else meanwhile."""
        bare, _ = git.without_credentials(url)
        copy = self._copy(bare)
        async with self._lock(copy):
            fetched = await self._bring(url, bare, copy, head, ssh_key)
            await asyncio.to_thread(mark_used, copy)
            yield copy
        if fetched:
            await self._evict()

    async def _evict(self) -> None:
        """Copies grow by fetching only. One that is in use is spared until the next time."""
        if time.monotonic() - self._evicted_at < EVICTION_INTERVAL:
            return
        self._evicted_at = time.monotonic()
        for copy in await asyncio.to_thread(evictable, self._folder, self._max_bytes):
            lock = self._lock(copy)
            if not lock.locked():
                async with lock:
                    await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    def _lock(self, copy: Path) -> asyncio.Lock:
        return self._locks.setdefault(copy.name, asyncio.Lock())

    def _copy(self, bare: str) -> Path:
        return self._folder / hashlib.sha256(bare.encode()).hexdigest()[:24]

    async def _bring(self, url: str, bare: str, copy: Path, head: Head, ssh_key: str | None) -> bool:
        """Fetch the commit unless the copy has it. Returns whether something was fetched."""
        if await _has(copy, head.sha):
            return False
        used_before = await asyncio.to_thread(copy.exists)
        try:
            with child("git fetch"):
                await self._fetch(url, bare, copy, head, ssh_key)
        except Unreachable:
            if not used_before:
                raise
            # a git that was killed leaves locks, or half a copy, and nobody but us would ever clear them away
            await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)
            await self._fetch(url, bare, copy, head, ssh_key)
        if not await _has(copy, head.sha):
            raise NoSuchRef(f"the commit {head.sha} does not exist in {head.ref.removeprefix('refs/heads/')}")
        return True

    async def _fetch(self, url: str, bare: str, copy: Path, head: Head, ssh_key: str | None) -> None:
        await _git(url, None, LIST_SECONDS, "init", "--quiet", "--bare", str(copy))
        fetch = ["--git-dir", str(copy), "fetch", "--quiet", "--no-tags"]
        source = [*git.upload_pack(bare), "--", bare]
        mark = copy / SERVES_COMMITS
        known = mark.exists()
        mark.unlink(missing_ok=True)
        try:
            served = await self._served(url, [*fetch, "--depth=1", *source], head.sha, ssh_key)
            if served and not known and (parent := await _parent(copy, head.sha)):
                with suppress(Unreachable):  # that it gave the head of a branch says nothing about other commits
                    known = await self._served(url, [*fetch, "--depth=1", *source], parent, ssh_key)
            if served and known:
                mark.touch()
        except Unreachable:
            # some servers do not give a bare commit: take the branch, and all of it where it has moved on
            await _git(url, ssh_key, FETCH_SECONDS, *fetch, "--depth=1", *source, head.ref)
            if not await _has(copy, head.sha):
                await _git(url, ssh_key, FETCH_SECONDS, *fetch, f"--depth={WHOLE}", *source, head.ref)

    async def _served(self, url: str, fetch: list[str], sha: str, ssh_key: str | None) -> bool:
        """Fetch a commit by its hash. Return whether it was asked for in a protocol that makes no use of refs."""
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace")
            await _git(url, ssh_key, FETCH_SECONDS, *fetch, sha, trace=trace)
            return protocol_version(trace) == VERSION_WITHOUT_REFS


async def _local_head(path: str, wanted: str) -> Head:
    """The same, for a folder of this machine: git's own files tell it mostly, and if not one or two small processes."""
    if head := await asyncio.to_thread(_plain_head, Path(path), wanted):
        return head
    if wanted == "HEAD":
        wanted = (await _git("", None, LIST_SECONDS, "-C", path, "symbolic-ref", "HEAD")).decode().strip()
    listed = await _git("", None, LIST_SECONDS, "-C", path, "for-each-ref", "--format=%(objectname) %(refname)", wanted)
    for line in listed.decode().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == wanted:
            return Head(sha, ref)
    raise NoSuchRef(f"the branch {wanted.removeprefix('refs/heads/')} does not exist")


def _plain_head(folder: Path, wanted: str) -> Head | None:
    """From a repository whose references are plain files; nothing where only git can tell."""
    inside = folder / ".git" if (folder / ".git").is_dir() else folder
    try:
        if wanted == "HEAD":
            wanted = _text(inside / "HEAD").removeprefix("ref: ").strip()
        if normpath(wanted) != wanted or not wanted.startswith("refs/heads/"):
            return None
        sha = _text(inside / wanted).strip()  # first, as git does it: it is packed before it leaves this place
        if not sha:
            packed = (line.partition(" ") for line in _text(inside / "packed-refs").splitlines())
            sha = next((sha for sha, _, ref in packed if ref == wanted), "")
    except (OSError, ValueError):
        return None
    return Head(sha, wanted) if SHA.fullmatch(sha) else None


def _text(file: Path) -> str:
    return file.read_text("utf-8") if file.is_file() else ""


async def _has(copy: Path, sha: str) -> bool:
    try:
        await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "cat-file", "-e", f"{sha}^{{commit}}")
    except Unreachable:
        return False
    return True


async def _parent(copy: Path, sha: str) -> str:
    """Return the first parent's hash, also where history ends with this commit here; empty for a first commit."""
    header = (await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "cat-file", "commit", sha)).partition(b"\n\n")[
        0
    ]
    return next((line[7:].decode() for line in header.splitlines() if line.startswith(b"parent ")), "")


async def _read(copy: Path, sha: str, path: str) -> bytes:
    plain = normpath(path.strip("/"))  # git would list what is in a folder whose name ends with a slash
    if plain == ".":
        raise IsADirectoryError(path)
    if plain.split("/")[0] == "..":
        raise NoSuchFile(path)
    listing = ["--git-dir", str(copy), "--literal-pathspecs", "ls-tree", "-z", sha, "--", plain]
    listed = await _git("", None, LIST_SECONDS, *listing)
    entry = listed.split(b"\0", 1)[0]
    if not entry:
        raise NoSuchFile(path)
    mode, kind, blob = entry.split(b"\t", 1)[0].split()
    if kind != b"blob" or mode == b"120000":
        raise IsADirectoryError(path)
    return await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "cat-file", "blob", blob.decode())


async def _git(url: str, ssh_key: str | None, seconds: float, *arguments: str, trace: Path | None = None) -> bytes:
    """Run git; its output, or Unreachable with its last words. `trace` is a file for git's own events."""
    try:
        return await _run_with_key(url, ssh_key, seconds, arguments, trace)
    except Unreachable as error:
        _, login = git.without_credentials(url)
        words, _ = Mask(git.confidential(login)).apply(str(error).encode(), final=True)  # a server may repeat it
        raise Unreachable(words.decode()) from None


async def _run_with_key(
    url: str, ssh_key: str | None, seconds: float, arguments: tuple[str, ...], trace: Path | None
) -> bytes:
    traced = {} if trace is None else {"GIT_TRACE2_EVENT": str(trace)}
    if ssh_key is None:
        return await _run(git.environment(url, None) | traced, seconds, arguments)
    with tempfile.TemporaryDirectory() as private:
        key = Path(private) / "key"
        key.touch(mode=0o600)
        key.write_text(ssh_key if ssh_key.endswith("\n") else f"{ssh_key}\n")
        return await _run(git.environment(url, key) | traced, seconds, arguments)


async def _run(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    """In a thread: starting a process this way costs a fraction of what the event loop's own way does."""
    return await asyncio.to_thread(_run_and_wait, variables, seconds, arguments)


def _run_and_wait(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
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
        raise Unreachable(f"git did not come to an end within {seconds:g} seconds") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise Unreachable(_words(complaint))
    return output


def _words(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-5:]) or "git failed without a word"
