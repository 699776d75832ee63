"""Where the steps of a job run: in a shell of this machine, or in containers of their own."""

from collections.abc import Mapping
from typing import Protocol

from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.docker_client import DockerClient, DockerError, socket_path
from agent.executors.docker_executor import DockerExecutor
from agent.processes import program
from agent.processes.process_spawner import ProcessSpawner
from agent.protocol.job import Job


class Executor(Protocol):
    async def prepare(self) -> None:
        """Make ready what the steps need."""

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        """The exit status of a step. Cancelling ends all of it before it returns."""

    async def close(self) -> None:
        """Leave nothing behind."""


class ShellExecutor:
    def __init__(self, program: str, workspace: Workspace, nursery: ProcessSpawner, trace: JobLog) -> None:
        self._program = program
        self._workspace = workspace
        self._spawner = nursery
        self._log = trace

    async def prepare(self) -> None:
        pass

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        return await program.run_program(
            self._spawner,
            [*program.interpreter_command(self._program), self._workspace.write_script(number, script)],
            cwd=self._workspace.checkout,
            environment={**self._workspace.environment, **extra_environment},
            output=self._log.write,
        )

    async def close(self) -> None:
        pass


async def choose_executor(
    config: Config, job: Job, workspace: Workspace, nursery: ProcessSpawner, trace: JobLog
) -> Executor:
    """By the registration, the job's image, and whether an engine answers."""
    in_shell = ShellExecutor(config.shell, workspace, nursery, trace)
    if config.executor == "docker" or (config.executor == "auto" and job.image):
        socket = socket_path(config.docker.socket)
        engine = DockerClient(socket)
        if await engine.ping():
            return DockerExecutor(engine, config, job, workspace, trace)
        await engine.close()
        if config.executor == "docker":
            raise DockerError(f"no Docker engine answers at {socket}")
        trace.write_line(f"WARNING: no Docker engine answers at {socket}")
    if job.image:
        trace.write_line(f"The image {job.image.name} is not used: this job runs in a shell of the machine")
    return in_shell
