"""The interface of executors, which run the steps of a job, and the choice of the executor for a job."""

from collections.abc import Mapping
from typing import Protocol

from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.docker_client import DockerClient, DockerError, socket_path
from agent.executors.docker_executor import DockerExecutor
from agent.executors.shell_executor import ShellExecutor
from agent.processes.process_spawner import ProcessSpawner
from agent.protocol.job import Job


class Executor(Protocol):
    async def prepare(self) -> None:
        """Prepare for the steps. Called once, before the first step."""

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        """Run a step and return its exit status. If canceled, end all processes of the step first."""

    async def close(self) -> None:
        """Remove everything that `prepare` and the steps created."""


async def choose_executor(
    config: Config, job: Job, workspace: Workspace, spawner: ProcessSpawner, log: JobLog
) -> Executor:
    """Return the configured executor. Raises DockerError if Docker is not available: no job falls back to a shell."""
    if config.executor == "shell":
        if job.image:
            log.write_line(f"Image {job.image.name} is ignored: the job runs in a shell on the agent's machine")
        return ShellExecutor(config.shell, workspace, spawner, log)
    socket = socket_path(config.docker.socket)
    client = DockerClient(socket)
    if not await client.ping():
        await client.close()
        raise DockerError(f"Docker is not available at {socket}")
    return DockerExecutor(client, config, job, workspace, log)
