"""What a job gets from the jobs before it, and what it leaves for those after it."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Event

from agent import archive, shell
from agent.job import Artifacts, Job
from agent.nursery import Nursery
from agent.protocol import Protocol, Refused
from agent.trace import Trace
from agent.variables import filled
from agent.workspace import base_environment

FINAL = frozenset({400, 401, 403, 404, 409, 413, 422})  # no other attempt would fare better
SHOWN = 5  # names of files, in the log


class ArtifactsFailed(Exception):
    """They could not be brought; `final` if another runner could not either."""

    def __init__(self, detail: str, *, final: bool) -> None:
        super().__init__(detail)
        self.final = final


class Exchange:
    def __init__(
        self,
        protocol: Protocol,
        job: Job,
        trace: Trace,
        nursery: Nursery,
        checkout: Path,
        private: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._protocol = protocol
        self._job = job
        self._trace = trace
        self._nursery = nursery
        self._checkout = checkout
        self._private = private
        self._environment = environment

    async def fetch(self) -> None:
        """The archives of the jobs that this one depends on."""
        for number, one in enumerate(self._job.dependencies):
            self._trace.line(f"Downloading artifacts of {one.name} (job {one.id})")
            path = self._private / f"dependency-{number}"
            try:
                await self._protocol.download_artifacts(one.id, one.token, path)
                self._leave_out(await asyncio.to_thread(archive.unpack, path, self._checkout))
            except Refused as refused:
                raise _failed(f"artifacts of {one.name} could not be downloaded", refused) from refused
            except ValueError as error:
                raise ArtifactsFailed(f"artifacts of {one.name}: {error}", final=True) from error

    async def leave(self, *, failed: bool) -> None:
        """Upload what the job wants to be kept after such an end."""
        for number, wanted in enumerate(self._job.artifacts):
            if wanted.left_after(failed):
                await self._upload(wanted, self._private / f"artifacts-{number}")

    async def _upload(self, wanted: Artifacts, path: Path) -> None:
        if wanted.format != "zip":
            self._trace.line(
                f"WARNING: this runner makes no artifacts of the format {wanted.format}; they are left out"
            )
            return
        name = filled(wanted.name, self._environment).replace("/", "-") or "default"
        names = await self.names(wanted.paths, wanted.exclude, untracked=wanted.untracked)
        if not names:
            self._trace.line("WARNING: no file matches the artifacts; nothing is uploaded")
            return
        self._trace.line(f"Uploading artifacts: {len(names)} files and folders as {name}.zip")
        stop = Event()
        try:
            self._leave_out(await asyncio.to_thread(archive.pack, self._checkout, names, path, stop))
            await self._protocol.upload_artifacts(self._job.id, self._job.token, path, f"{name}.zip", wanted.parameters)
        except Refused as refused:
            raise _failed("artifacts could not be uploaded", refused) from refused
        finally:
            stop.set()

    async def names(self, wanted: Iterable[str], unwanted: Iterable[str], *, untracked: bool) -> list[str]:
        """What is there of the patterns, below the checkout."""
        also = await self._untracked() if untracked else []
        paths, exclude = ([filled(one, self._environment) for one in each] for each in (wanted, unwanted))
        try:
            return await asyncio.to_thread(archive.found, self._checkout, paths, exclude, also)
        except ValueError as error:
            raise ArtifactsFailed(str(error), final=True) from error

    async def _untracked(self) -> list[str]:
        """What git does not know, ignored or not."""
        said: list[bytes] = []
        # the job may have been in a container: neither its settings of git nor its variables may start anything outside
        settings = [*("-c", "core.fsmonitor=false"), *("-c", "core.hooksPath=/dev/null"), *("-c", "safe.directory=*")]
        command = ["git", *settings, "ls-files", "--others", "-z"]
        environment = {**base_environment(os.environ), "GIT_ALLOW_PROTOCOL": "none"}
        status = await shell.run(
            self._nursery, command, cwd=self._checkout, environment=environment, output=said.append
        )
        if status != 0:
            raise ArtifactsFailed("git could not say which files it does not know", final=True)
        return [os.fsdecode(one) for one in b"".join(said).split(b"\0") if one]

    def _leave_out(self, names: list[str]) -> None:
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            shown = ", ".join(names[:SHOWN]) + more
            self._trace.line(f"WARNING: left out, for it leads out of the folder or is no file: {shown}")


def _failed(what: str, refused: Refused) -> ArtifactsFailed:
    return ArtifactsFailed(f"{what}: {refused}", final=refused.status in FINAL)
