"""The interface of executors, which run the steps of a job, and the choice of the executor for a job."""

from collections.abc import Mapping
from typing import Protocol

from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.docker_client import DockerClient, DockerError, socket_path
from agent.executors.docker_executor import DockerExecutor
from agent.executors.kubernetes.cluster_client import KubernetesClient, server_address
from agent.executors.kubernetes.pod_executor import KubernetesExecutor
from agent.executors.own_container import find_own_container
from agent.executors.shell_executor import ShellExecutor
from agent.processes.job_spawner import JobSpawner
from agent.protocol.job import Job


class Executor(Protocol):
    async def prepare(self) -> None:
        """Prepare for the steps. Called once, before the first step."""

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        """Run a step and return its exit status. If canceled, end all processes of the step first."""

    async def collect(self) -> None:
        """Make the files that the steps changed available in the workspace. Called after the last step."""

    async def close(self) -> None:
        """Remove the containers or the pod of the job. Called even if `prepare` failed."""


async def choose_executor(config: Config, job: Job, workspace: Workspace, spawner: JobSpawner, log: JobLog) -> Executor:
    """Return the configured executor. Raises ExecutorError if it is not available: no job falls back to a shell."""
    if config.executor == "shell":
        if job.image:
            log.write_line(f"Image {job.image.name} is ignored: the job runs in a shell on the agent's machine")
        return ShellExecutor(config.shell, workspace, spawner, log)
    if config.executor == "kubernetes":
        client = KubernetesClient(config.kubernetes.namespace, server_address())
        return KubernetesExecutor(client, config, job, workspace, log)
    return await _docker_executor(config, job, workspace, log)


async def _docker_executor(config: Config, job: Job, workspace: Workspace, log: JobLog) -> Executor:
    socket = socket_path(config.docker.socket)
    client = DockerClient(socket)
    if not await client.ping():
        await client.aclose()
        raise DockerError(f"Docker is not available at {socket}")
    try:
        own = await find_own_container(client)
    except DockerError:
        await client.aclose()
        raise
    return DockerExecutor(client, own, config, job, workspace, log)
