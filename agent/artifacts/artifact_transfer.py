"""Transfer of artifacts: the download from earlier jobs, and the upload of the job's own."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Event

from agent.artifacts.archive import compress, find_files, pack, run_stoppable
from agent.artifacts.unpacking import unpack
from agent.config import ArchiveLimits
from agent.execution.job_log import JobLog
from agent.execution.variable_expansion import expand
from agent.execution.workspace import Workspace
from agent.processes import program
from agent.processes.job_spawner import JobSpawner
from agent.protocol.client import ProtocolClient
from agent.protocol.job import Artifacts, Job
from agent.protocol.responses import RequestFailed

PERMANENT_STATUSES = frozenset({400, 401, 403, 404, 409, 413, 422})  # a retry cannot succeed
EXTENSIONS = {"zip": "zip", "gzip": "gz"}  # file name extension by format of the artifacts
MAX_LISTED_NAMES = 5  # file names in one line of the log


class ArtifactTransferFailed(Exception):
    """Artifacts could not be transferred. `is_permanent`: a retry would fail too, even on another runner."""

    def __init__(self, detail: str, *, is_permanent: bool) -> None:
        super().__init__(detail)
        self.is_permanent = is_permanent


class ArtifactTransfer:
    def __init__(
        self,
        protocol: ProtocolClient,
        job: Job,
        log: JobLog,
        spawner: JobSpawner,
        workspace: Workspace,
        limits: ArchiveLimits,
    ) -> None:
        self._protocol = protocol
        self._job = job
        self._log = log
        self._spawner = spawner
        self._workspace = workspace
        self._limits = limits

    async def download(self) -> None:
        """Download and unpack the archives of the jobs on which this job depends. Raises ArtifactTransferFailed."""
        for number, dependency in enumerate(self._job.dependencies):
            self._log.write_line(f"Downloading artifacts of {dependency.name} (job {dependency.id})")
            path = self._workspace.transfers / f"dependency-{number}"
            try:
                await self._protocol.download_artifacts(
                    dependency.id, dependency.token, path, self._limits.download_megabytes * 1024 * 1024
                )
                self._warn_skipped(await self._unpack(path))
            except RequestFailed as failure:
                raise _transfer_failed(f"artifacts of {dependency.name} could not be downloaded", failure) from failure
            except ValueError as error:
                raise ArtifactTransferFailed(f"artifacts of {dependency.name}: {error}", is_permanent=True) from error

    async def _unpack(self, path: Path) -> list[str]:
        workspace = self._workspace
        return await run_stoppable(
            lambda stop: unpack(path, workspace.checkout, self._limits, stop, workspace.file_access())
        )

    async def upload(self, *, failed: bool) -> None:
        """Upload the artifacts defined for success or, if `failed`, for failure. Raises ArtifactTransferFailed."""
        for number, artifacts in enumerate(self._job.artifacts):
            if artifacts.should_upload(failed):
                await self._upload_archive(artifacts, self._workspace.transfers / f"artifacts-{number}")

    async def _upload_archive(self, artifacts: Artifacts, path: Path) -> None:
        extension = EXTENSIONS.get(artifacts.format)
        if extension is None:
            self._log.write_line(
                f"WARNING: artifacts of format {artifacts.format} are not supported by this runner and are skipped"
            )
            return
        name = expand(artifacts.name, self._workspace.environment).replace("/", "-") or "default"
        file_name = f"{name}.{extension}"
        names = await self.find_names(artifacts.paths, artifacts.exclude, untracked=artifacts.untracked)
        if not names:
            kind = "artifact" if artifacts.format == "zip" else artifacts.type
            self._log.write_line(f"WARNING: no files match the {kind} paths; nothing is uploaded")
            return
        self._log.write_line(f"Uploading artifacts: {len(names)} files and folders as {file_name}")
        try:
            self._warn_skipped(await run_stoppable(lambda stop: self._pack(artifacts, names, path, stop)))
            await self._protocol.upload_artifacts(
                self._job.id, self._job.token, path, file_name, artifacts.upload_parameters
            )
        except RequestFailed as failure:
            raise _transfer_failed("artifacts could not be uploaded", failure) from failure

    def _pack(self, artifacts: Artifacts, names: list[str], path: Path, stop: Event) -> list[str]:
        write = pack if artifacts.format == "zip" else compress
        with path.open("xb") as archive, self._workspace.file_access():
            return write(self._workspace.checkout, names, archive, stop)

    async def find_names(self, include: Iterable[str], exclude: Iterable[str], *, untracked: bool) -> list[str]:
        """Return the paths below the checkout that match the patterns. `untracked`: include untracked files.

        Raises ArtifactTransferFailed.
        """
        extra_names = await self._untracked_names() if untracked else []
        included, excluded = (
            [expand(pattern, self._workspace.environment) for pattern in patterns] for patterns in (include, exclude)
        )
        try:
            return await asyncio.to_thread(self._find_files, included, excluded, extra_names)
        except ValueError as error:
            raise ArtifactTransferFailed(str(error), is_permanent=True) from error

    def _find_files(self, included: list[str], excluded: list[str], extra_names: list[str]) -> list[str]:
        with self._workspace.file_access():
            return find_files(self._workspace.checkout, included, excluded, extra_names)

    async def _untracked_names(self) -> list[str]:
        """Return the paths of files that git does not track, including ignored files."""
        output: list[bytes] = []
        status = await program.run_program(
            self._spawner,
            ["git", "ls-files", "--others", "-z"],
            cwd=self._workspace.checkout,
            environment={**self._workspace.git_environment(), "GIT_ALLOW_PROTOCOL": "none"},
            output=output.append,
        )
        if status != 0:
            raise ArtifactTransferFailed("git could not list the untracked files", is_permanent=True)
        return [os.fsdecode(name) for name in b"".join(output).split(b"\0") if name]

    def _warn_skipped(self, names: list[str]) -> None:
        if names:
            rest = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
            listed = ", ".join(names[:MAX_LISTED_NAMES]) + rest
            self._log.write_line(
                f"WARNING: skipped because they lead out of the folder or are no regular files: {listed}"
            )


def _transfer_failed(problem: str, failure: RequestFailed) -> ArtifactTransferFailed:
    return ArtifactTransferFailed(f"{problem}: {failure}", is_permanent=failure.status in PERMANENT_STATUSES)
