"""Caches of jobs on this machine: one zip file per key. The least recently used are evicted first."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event

from agent.artifacts.archive import pack, run_stoppable
from agent.artifacts.artifact_transfer import ArtifactTransfer, ArtifactTransferFailed
from agent.artifacts.unpacking import unpack
from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.variable_expansion import expand
from agent.execution.workspace import Workspace
from agent.protocol.job import Cache, Job

CACHE_DIRECTORY = "cache"
ZIP_SUFFIX = ".zip"
FALLBACK_VARIABLE = "CACHE_FALLBACK_KEY"
MAX_LOGGED_KEY_LENGTH = 200  # characters of a cache key that the job's log shows
SAVE_TIMEOUT_SECONDS = 300  # limit for all caches of a job together
ZIP_LEVEL = 1  # the fastest level: local caches need little compression


class JobCaches:
    """The caches of one job. A failure becomes a warning in the log and never fails the job.

    Each project has its own caches, separate for protected and other branches. Servers that announce `separate_caches`
    send different cache keys. For other servers (GitLab, Headrace before 0.3), the agent uses different folders.
    """

    def __init__(self, config: Config, job: Job, log: JobLog, transfer: ArtifactTransfer) -> None:
        self._max_bytes = config.cache_megabytes * 1024 * 1024
        self._limits = config.archives
        self._job = job
        self._log = log
        self._transfer = transfer
        self._root = Path(config.builds_dir, CACHE_DIRECTORY)
        server = hashlib.sha256(config.url.encode()).hexdigest()[:12]
        # `source.protected` is set by the server. A variable would not be safe: the spec file can set variables.
        kind = "protected" if job.source and job.source.protected else "open"
        self._folder = self._root / (server if job.separate_caches else f"{server}-{job.project_id}-{kind}")

    async def restore(self, workspace: Workspace) -> None:
        def restore_cache(cache: Cache, stop: Event) -> list[str]:
            return list(self._restore(cache, workspace, stop))

        for cache in self._enabled_caches():
            if cache.pulls:
                for line in await run_stoppable(partial(restore_cache, cache)):
                    self._log.write_line(line)

    async def save(self, workspace: Workspace, *, failed: bool) -> None:
        """Save the caches defined for success or, if `failed`, for failure, within SAVE_TIMEOUT_SECONDS."""
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_SECONDS):
                for cache in self._enabled_caches():
                    if cache.pushes and cache.should_save(failed):
                        await self._save(cache, workspace)
        except TimeoutError:
            self._log.write_line(f"WARNING: saving caches timed out after {SAVE_TIMEOUT_SECONDS} s; some are not saved")

    def _enabled_caches(self) -> tuple[Cache, ...]:
        return self._job.caches if self._max_bytes else ()

    def _restore(self, cache: Cache, workspace: Workspace, stop: Event) -> Iterator[str]:
        """Restore the first intact cache of the keys, and delete damaged ones. Yield lines for the job's log."""
        values = workspace.environment
        keys = [expand(key, values) for key in (cache.key, *cache.fallback_keys, values.get(FALLBACK_VARIABLE, ""))]
        for key in dict.fromkeys(filter(None, keys)):
            path = self._path_of(key)
            try:
                with suppress(FileNotFoundError):
                    os.utime(path)  # marks the cache as recently used
                    unpack(path, workspace.checkout, self._limits, stop, workspace.file_access())
                    yield f"Restored cache {_printable_key(key)}"
                    return
            except (OSError, ValueError) as error:
                yield f"WARNING: cache {_printable_key(key)} could not be restored and is deleted: {error}"
                with suppress(OSError):
                    path.unlink()
        yield f"Cache {_printable_key(keys[0])} not found on this machine"

    async def _save(self, cache: Cache, workspace: Workspace) -> None:
        key = expand(cache.key, workspace.environment)
        try:
            names = await self._transfer.find_names(cache.paths, (), untracked=cache.untracked)
            if not names:
                self._log.write_line(
                    f"WARNING: no files match the paths of cache {_printable_key(key)}; it is not saved"
                )
                return
            size = await run_stoppable(partial(self._pack, self._path_of(key), workspace, names))
            self._log.write_line(
                f"Saved cache {_printable_key(key)}: {len(names)} files and folders, {size // 1024 + 1} KiB"
            )
        except (OSError, ValueError, ArtifactTransferFailed) as error:
            self._log.write_line(f"WARNING: cache {_printable_key(key)} could not be saved: {error}")

    def _pack(self, path: Path, workspace: Workspace, names: list[str], stop: Event) -> int:
        """Replace the archive atomically, because concurrent jobs may read the old one. Return its size in bytes."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self._folder)
        try:
            with open(handle, "wb") as archive, workspace.file_access():
                pack(workspace.checkout, names, archive, stop, level=ZIP_LEVEL)
            size = os.path.getsize(temporary)
            if size > self._max_bytes:
                raise ValueError(f"its {size // 1024 // 1024} MiB exceed the agent's limit (cache_megabytes)")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._evict_oldest()
        return size

    def _evict_oldest(self) -> None:
        files = sorted(_list_cache_files(self._root), key=lambda file: file[1].st_mtime, reverse=True)
        total = 0
        for path, status in files:
            total += status.st_size
            if total > self._max_bytes:
                with suppress(FileNotFoundError):
                    path.unlink()

    def _path_of(self, key: str) -> Path:
        return self._folder / (hashlib.sha256(key.encode(errors="replace")).hexdigest() + ZIP_SUFFIX)


def _list_cache_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each file and its status, also incomplete archives of killed agents: they are evicted like caches."""
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):
            yield path, path.stat()


def _printable_key(key: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in key[:MAX_LOGGED_KEY_LENGTH])
