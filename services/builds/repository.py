"""What a build needs of a git repository before it runs: the commit of a branch, and one file of it."""

import asyncio
import hashlib
import os
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from libs import git

LIST_SECONDS = 60
FETCH_SECONDS = 300
REMEMBERED = 512  # spec files


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
    """Bare copies under one folder, one per address, only ever used by this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, asyncio.Lock] = {}
        self._files: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()

    async def head(self, url: str, branch: str, ssh_key: str | None = None) -> Head:
        """The newest commit of a branch; `*` means the default branch."""
        wanted = "HEAD" if branch == "*" else f"refs/heads/{branch}"
        bare, _ = git.without_credentials(url)
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
            self._files.move_to_end(key)
            return known
        bare, _ = git.without_credentials(url)
        copy = self._folder / hashlib.sha256(bare.encode()).hexdigest()[:24]
        async with self._locks.setdefault(bare, asyncio.Lock()):
            await self._bring(url, bare, copy, head, ssh_key)
            content = await _read(copy, head.sha, path)
        self._files[key] = content
        if len(self._files) > REMEMBERED:
            self._files.popitem(last=False)
        return content

    async def _bring(self, url: str, bare: str, copy: Path, head: Head, ssh_key: str | None) -> None:
        if await _has(copy, head.sha):
            return
        await _git(url, None, LIST_SECONDS, "init", "--quiet", "--bare", str(copy))
        options = ["--quiet", "--no-tags", "--depth=1", *git.upload_pack(bare), "--", bare]
        fetch = ["--git-dir", str(copy), "fetch", *options]
        try:
            await _git(url, ssh_key, FETCH_SECONDS, *fetch, head.sha)
        except Unreachable:
            # some servers do not give a bare commit: take the branch, and see whether it still is the commit
            await _git(url, ssh_key, FETCH_SECONDS, *fetch, head.ref)
        if not await _has(copy, head.sha):
            raise NoSuchRef(f"the commit {head.sha} does not exist in {head.ref.removeprefix('refs/heads/')}")


async def _has(copy: Path, sha: str) -> bool:
    try:
        await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "cat-file", "-e", f"{sha}^{{commit}}")
    except Unreachable:
        return False
    return True


async def _read(copy: Path, sha: str, path: str) -> bytes:
    listed = await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "ls-tree", "-z", sha, "--", path)
    entry = listed.split(b"\0", 1)[0]
    if not entry:
        raise NoSuchFile(path)
    mode, kind, blob = entry.split(b"\t", 1)[0].split()
    if kind != b"blob" or mode == b"120000":
        raise IsADirectoryError(path)
    return await _git("", None, LIST_SECONDS, "--git-dir", str(copy), "cat-file", "blob", blob.decode())


async def _git(url: str, ssh_key: str | None, seconds: float, *arguments: str) -> bytes:
    """Run git; its output, or Unreachable with its last words."""
    if ssh_key is None:
        return await _run(git.environment(url, None), seconds, arguments)
    with tempfile.TemporaryDirectory() as private:
        key = Path(private) / "key"
        key.touch(mode=0o600)
        key.write_text(ssh_key if ssh_key.endswith("\n") else f"{ssh_key}\n")
        return await _run(git.environment(url, key), seconds, arguments)


async def _run(variables: dict[str, str], seconds: float, arguments: tuple[str, ...]) -> bytes:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "SSL_CERT_FILE") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited | variables,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, complaint = await process.communicate()
    except TimeoutError:
        raise Unreachable(f"git did not come to an end within {seconds:g} seconds") from None
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()
    if process.returncode:
        raise Unreachable(_words(complaint))
    return output


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, 9)
    except ProcessLookupError:
        return


def _words(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-5:]) or "git failed without a word"
