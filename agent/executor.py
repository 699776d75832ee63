"""Where the steps of a job run: in a shell of this machine, or in containers of their own."""

from collections.abc import Mapping
from typing import Protocol

from agent import shell
from agent.config import Config
from agent.container import DockerExecutor
from agent.engine import Engine, EngineError, socket_path
from agent.job import Job
from agent.nursery import Nursery
from agent.trace import Trace
from agent.workspace import Workspace


class Executor(Protocol):
    async def prepare(self) -> None:
        """Make ready what the steps need."""

    async def run(self, number: int, script: str, more: Mapping[str, str]) -> int:
        """The exit status of a step. Cancelling ends all of it before it returns."""

    async def close(self) -> None:
        """Leave nothing behind."""


class ShellExecutor:
    def __init__(self, program: str, workspace: Workspace, nursery: Nursery, trace: Trace) -> None:
        self._program = program
        self._workspace = workspace
        self._nursery = nursery
        self._trace = trace

    async def prepare(self) -> None:
        pass

    async def run(self, number: int, script: str, more: Mapping[str, str]) -> int:
        return await shell.run(
            self._nursery,
            [*shell.interpreter(self._program), self._workspace.script(number, script)],
            cwd=self._workspace.checkout,
            environment={**self._workspace.environment, **more},
            output=self._trace.write,
        )

    async def close(self) -> None:
        pass


async def choose(config: Config, job: Job, workspace: Workspace, nursery: Nursery, trace: Trace) -> Executor:
    """By the registration, the job's image, and whether an engine answers."""
    in_shell = ShellExecutor(config.shell, workspace, nursery, trace)
    if config.executor == "docker" or (config.executor == "auto" and job.image):
        socket = socket_path(config.docker.socket)
        engine = Engine(socket)
        if await engine.answers():
            return DockerExecutor(engine, config, job, workspace, trace)
        await engine.close()
        if config.executor == "docker":
            raise EngineError(f"no Docker engine answers at {socket}")
        trace.line(f"WARNING: no Docker engine answers at {socket}")
    if job.image:
        trace.line(f"The image {job.image.name} is not used: this job runs in a shell of the machine")
    return in_shell
