"""What a job gets from the jobs before it, and what it leaves for those after it."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Event

from agent.artifacts import archive
from agent.execution.job_log import JobLog
from agent.execution.variable_expansion import expand
from agent.execution.workspace import inherited_environment
from agent.processes import program
from agent.processes.process_spawner import ProcessSpawner
from agent.protocol.client import ProtocolClient, RequestFailed
from agent.protocol.job import Artifacts, Job

PERMANENT_STATUSES = frozenset({400, 401, 403, 404, 409, 413, 422})  # no other attempt would fare better
MAX_LISTED_NAMES = 5  # names of files, in the log


class ArtifactTransferFailed(Exception):
    """They could not be brought; `final` if another runner could not either."""

    def __init__(self, detail: str, *, is_permanent: bool) -> None:
        super().__init__(detail)
        self.is_permanent = is_permanent


class ArtifactTransfer:
    def __init__(
        self,
        protocol: ProtocolClient,
        job: Job,
        trace: JobLog,
        nursery: ProcessSpawner,
        checkout: Path,
        private: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._protocol = protocol
        self._job = job
        self._log = trace
        self._spawner = nursery
        self._checkout = checkout
        self._private = private
        self._environment = environment

    async def download(self) -> None:
        """The archives of the jobs that this one depends on."""
        for number, one in enumerate(self._job.dependencies):
            self._log.write_line(f"Downloading artifacts of {one.name} (job {one.id})")
            path = self._private / f"dependency-{number}"
            try:
                await self._protocol.download_artifacts(one.id, one.token, path)
                self._warn_skipped(await asyncio.to_thread(archive.unpack, path, self._checkout))
            except RequestFailed as refused:
                raise _transfer_failed(f"artifacts of {one.name} could not be downloaded", refused) from refused
            except ValueError as error:
                raise ArtifactTransferFailed(f"artifacts of {one.name}: {error}", is_permanent=True) from error

    async def upload(self, *, failed: bool) -> None:
        """Upload what the job wants to be kept after such an end."""
        for number, wanted in enumerate(self._job.artifacts):
            if wanted.should_upload(failed):
                await self._upload_archive(wanted, self._private / f"artifacts-{number}")

    async def _upload_archive(self, wanted: Artifacts, path: Path) -> None:
        if wanted.format != "zip":
            self._log.write_line(
                f"WARNING: this runner makes no artifacts of the format {wanted.format}; they are left out"
            )
            return
        name = expand(wanted.name, self._environment).replace("/", "-") or "default"
        names = await self.find_names(wanted.paths, wanted.exclude, untracked=wanted.untracked)
        if not names:
            self._log.write_line("WARNING: no file matches the artifacts; nothing is uploaded")
            return
        self._log.write_line(f"Uploading artifacts: {len(names)} files and folders as {name}.zip")
        stop = Event()
        try:
            self._warn_skipped(await asyncio.to_thread(archive.pack, self._checkout, names, path, stop))
            await self._protocol.upload_artifacts(
                self._job.id, self._job.token, path, f"{name}.zip", wanted.upload_parameters
            )
        except RequestFailed as refused:
            raise _transfer_failed("artifacts could not be uploaded", refused) from refused
        finally:
            stop.set()

    async def find_names(self, include: Iterable[str], exclude: Iterable[str], *, untracked: bool) -> list[str]:
        """What is there of the patterns, below the checkout."""
        also = await self._untracked_names() if untracked else []
        paths, exclude = ([expand(one, self._environment) for one in each] for each in (include, exclude))
        try:
            return await asyncio.to_thread(archive.find_files, self._checkout, paths, exclude, also)
        except ValueError as error:
            raise ArtifactTransferFailed(str(error), is_permanent=True) from error

    async def _untracked_names(self) -> list[str]:
        """What git does not know, ignored or not."""
        said: list[bytes] = []
        # the job may have been in a container: neither its settings of git nor its variables may start anything outside
        settings = [*("-c", "core.fsmonitor=false"), *("-c", "core.hooksPath=/dev/null"), *("-c", "safe.directory=*")]
        command = ["git", *settings, "ls-files", "--others", "-z"]
        environment = {**inherited_environment(os.environ), "GIT_ALLOW_PROTOCOL": "none"}
        status = await program.run_program(
            self._spawner, command, cwd=self._checkout, environment=environment, output=said.append
        )
        if status != 0:
            raise ArtifactTransferFailed("git could not say which files it does not know", is_permanent=True)
        return [os.fsdecode(one) for one in b"".join(said).split(b"\0") if one]

    def _warn_skipped(self, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
            shown = ", ".join(names[:MAX_LISTED_NAMES]) + more
            self._log.write_line(f"WARNING: left out, for it leads out of the folder or is no file: {shown}")


def _transfer_failed(what: str, refused: RequestFailed) -> ArtifactTransferFailed:
    return ArtifactTransferFailed(f"{what}: {refused}", is_permanent=refused.status in PERMANENT_STATUSES)
