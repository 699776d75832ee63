"""Files that jobs of a project keep for later jobs on this machine: a zip for every key, the oldest ones go first."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event

from agent.artifacts import archive
from agent.artifacts.artifact_transfer import ArtifactTransfer, ArtifactTransferFailed
from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.variable_expansion import expand
from agent.protocol.job import Cache, Job

CACHE_DIRECTORY = "cache"  # beside the folders of runs
ZIP_SUFFIX = ".zip"
FALLBACK_VARIABLE = "CACHE_FALLBACK_KEY"
MAX_LOGGED_KEY_LENGTH = 200  # characters that are shown
SAVE_TIMEOUT_SECONDS = 300  # seconds for saving all of a job
ZIP_LEVEL = 1  # of zip's levels: what is kept on a disk is read soon


class JobCaches:
    """The caches of one job. A failure is a warning in the log and never fails the job: caches only save time.

    Projects, and within them protected and other branches, have caches of their own. The server separates them by their
    keys; one that does not say so (a Headrace before 0.3, GitLab) gets folders of its own for each.
    """

    def __init__(self, config: Config, job: Job, trace: JobLog, transfer: ArtifactTransfer) -> None:
        self._max_bytes = config.cache_megabytes * 1024 * 1024
        self._job = job
        self._log = trace
        self._transfer = transfer
        self._root = Path(config.builds_dir, CACHE_DIRECTORY)
        server = hashlib.sha256(config.url.encode()).hexdigest()[:12]
        # from `git_info`: a variable may be the spec file's own
        kind = "protected" if job.source and job.source.protected else "open"
        self._folder = self._root / (server if job.separate_caches else f"{server}-{job.project_id}-{kind}")

    async def restore(self, checkout: Path, values: Mapping[str, str]) -> None:
        for wanted in self._enabled_caches():
            if wanted.pulls:
                for words in await asyncio.to_thread(lambda one: list(self._restore(one, checkout, values)), wanted):
                    self._log.write_line(words)

    async def save(self, checkout: Path, values: Mapping[str, str], *, failed: bool) -> None:
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_SECONDS):
                for wanted in self._enabled_caches():
                    if wanted.pushes and wanted.should_save(failed):
                        await self._save(wanted, checkout, values)
        except TimeoutError:
            self._log.write_line(f"WARNING: not all caches could be saved within {SAVE_TIMEOUT_SECONDS} s")

    def _enabled_caches(self) -> tuple[Cache, ...]:
        return self._job.caches if self._max_bytes else ()

    def _restore(self, wanted: Cache, checkout: Path, values: Mapping[str, str]) -> Iterator[str]:
        """The first one that is there: of the key, or of those to fall back on. What to say of it."""
        keys = [expand(key, values) for key in (wanted.key, *wanted.fallback_keys, values.get(FALLBACK_VARIABLE, ""))]
        for key in dict.fromkeys(filter(None, keys)):
            path = self._path_of(key)
            try:
                with suppress(FileNotFoundError):
                    os.utime(path)  # used: it is not among the oldest any more
                    archive.unpack(path, checkout)
                    yield f"Restored cache {_printable_key(key)}"
                    return
            except (OSError, ValueError) as error:
                yield f"WARNING: the cache {_printable_key(key)} could not be restored: {error}"
                with suppress(OSError):
                    path.unlink()
        yield f"No cache {_printable_key(keys[0])} on this machine yet"

    async def _save(self, wanted: Cache, checkout: Path, values: Mapping[str, str]) -> None:
        key, stop = expand(wanted.key, values), Event()
        try:
            names = await self._transfer.find_names(wanted.paths, (), untracked=wanted.untracked)
            if not names:
                self._log.write_line(f"WARNING: no file matches the cache {_printable_key(key)}; it is not saved")
                return
            size = await asyncio.to_thread(self._pack, self._path_of(key), checkout, names, stop)
            self._log.write_line(
                f"Saved cache {_printable_key(key)}: {len(names)} files and folders, {size // 1024 + 1} KiB"
            )
        except (OSError, ValueError, ArtifactTransferFailed) as error:
            self._log.write_line(f"WARNING: the cache {_printable_key(key)} could not be saved: {error}")
        finally:
            stop.set()

    def _pack(self, path: Path, checkout: Path, names: list[str], stop: Event) -> int:
        """Whoever reads it meanwhile reads the one before it, as a whole."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self._folder)
        os.close(handle)
        try:
            archive.pack(checkout, names, Path(temporary), stop, level=ZIP_LEVEL)
            size = os.path.getsize(temporary)
            if size > self._max_bytes:
                raise ValueError(f"it has {size // 1024 // 1024} MiB, more than all caches of this agent may have")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._evict_oldest()
        return size

    def _evict_oldest(self) -> None:
        found = sorted(_list_cache_files(self._root), key=lambda each: each[1].st_mtime, reverse=True)
        total = 0
        for path, about in found:
            total += about.st_size
            if total > self._max_bytes:
                with suppress(FileNotFoundError):
                    path.unlink()

    def _path_of(self, key: str) -> Path:
        return self._folder / (hashlib.sha256(key.encode(errors="replace")).hexdigest() + ZIP_SUFFIX)


def _list_cache_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Also what a killed agent did not bring to its end: it has no ending, and counts among the oldest one day."""
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):
            yield path, path.stat()


def _printable_key(key: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in key[:MAX_LOGGED_KEY_LENGTH])
