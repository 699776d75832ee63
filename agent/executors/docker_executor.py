"""The executor that runs the steps of a job in a Docker container, in a network shared only with the job's services.

The agent creates the checkout and the job's files, and mounts them at the same path in the container. One container
runs during the whole job, and each step is executed in it. The environment of the steps, which has secrets, is
therefore in no container's configuration.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from string import Template
from typing import Any

from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.container_steps import exited_at_once, run_step, step_environment
from agent.executors.docker_client import DockerClient, DockerError
from agent.executors.docker_containers import (
    AGENT_LABEL,
    CHECKOUT_LABEL,
    JOB_FOLDER_LABEL,
    JOB_LABEL,
    RUN_LABEL,
    bind_mount,
    host_config,
    reclaim_ownership,
    remove_labeled,
)
from agent.executors.docker_images import ensure_image
from agent.executors.docker_network import JobNetwork
from agent.executors.own_container import OwnContainer
from agent.executors.services import service_aliases, service_environment
from agent.processes.program import interpreter_command
from agent.protocol.job import Image, Job

logger = logging.getLogger("headrace.agent")

READY_LINE = b"headrace: ready\n"
# Main process of the container. Canceling a step sends SIGTERM to all processes of the container, so it ignores
# SIGTERM.
KEEPALIVE_SCRIPT = f"trap '' TERM; echo '{READY_LINE.decode().strip()}'; while sleep 3600; do :; done"
SERVICE_START_TIMEOUT_SECONDS = 30.0  # maximum time until a service has opened its port
ROOT_USERS = ("", "0", "root")
PORTLESS_SERVICE_SECONDS = 1.0  # a service without a port counts as started if it runs for this time
LOG_TAIL_CHUNKS = 50  # number of output chunks logged for a service that did not start


class DockerExecutor:
    def __init__(
        self,
        client: DockerClient,
        own: OwnContainer | None,
        config: Config,
        job: Job,
        workspace: Workspace,
        log: JobLog,
    ) -> None:
        """`own`: the container in which the agent runs, if any."""
        self._client = client
        self._own = own
        self._docker = config.docker
        self._shell_program = config.shell
        self._job = job
        self._workspace = workspace
        self._log = log
        self._name = f"headrace-{workspace.folder.name}"
        self._labels = {
            AGENT_LABEL: config.system_id,
            RUN_LABEL: str(workspace.folder.parent),
            JOB_FOLDER_LABEL: str(workspace.folder),
            JOB_LABEL: str(job.id),
        }
        sandbox_image = self._docker.sandbox_image or (own.image if own else "")
        self._network = JobNetwork(client, self._name, self._labels, sandbox_image, self._docker.allowed_networks)
        self._variables = workspace.container_environment
        self._container = ""
        self._image = ""
        self._is_running = False

    async def prepare(self) -> None:
        image = self._job.image or (Image(self._docker.image) if self._docker.image else None)
        if image is None:
            raise DockerError("the job has no image, and this agent's docker.image sets no default")
        self._image = await self._ensure_image(image)
        await self._network.create()
        try:
            async with asyncio.TaskGroup() as group:
                for number, service in enumerate(self._job.services):
                    group.create_task(self._start_service(number, service))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        user = self._docker.user or await self._client.image_user(self._image)
        self._workspace.make_readable(writable=user.partition(":")[0] not in ROOT_USERS)
        # The private folder is read-only: a container could replace its files with links, whose targets the agent would
        # then overwrite.
        mounts = [
            bind_mount(self._workspace.checkout, self._own),
            bind_mount(self._workspace.private, self._own, read_only=True),
        ]
        description = {
            **await self._container_config(
                self._name, ["build"], self._image, image.entrypoint, ("sh", "-c", KEEPALIVE_SCRIPT)
            ),
            "WorkingDir": str(self._workspace.checkout),
            "User": user,
            "Labels": {**self._labels, CHECKOUT_LABEL: str(self._workspace.checkout)},
        }
        description["HostConfig"] |= {"Binds": list(self._docker.volumes), "Mounts": mounts}
        self._container = await self._client.create_container(self._name, description)
        await self._start_container()

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        path = self._workspace.write_script(number, script)
        if not self._is_running:  # the container was killed to cancel a step
            await self._start_container()
        step = self._client.execute(
            self._container,
            ["sh", "-c", 'exec "$@" 2>&1', "sh", *interpreter_command(self._shell_program), str(path)],
            self._log.write,
            environment=step_environment(self._workspace, self._image, extra_environment),
            cwd=str(self._workspace.checkout),
        )
        return await run_step(step, self._log, self._terminate, partial(self._client.kill, self._container))

    async def collect(self) -> None:
        """Nothing to do: the checkout is mounted."""

    async def close(self) -> None:
        try:
            await remove_labeled(self._client, f"{JOB_FOLDER_LABEL}={self._workspace.folder}")
            if self._container:
                await self._reclaim_checkout()
        except DockerError as error:  # remove_orphans() removes the rest when the agent starts again
            logger.warning("job %d: %s", self._job.id, error)
        finally:
            await self._client.aclose()

    async def _terminate(self) -> None:
        """Send SIGTERM to all processes of the container, which is killed afterwards."""
        self._is_running = False
        await self._client.execute(self._container, ["sh", "-c", "kill -TERM -1"], self._log.write, user="0")

    async def _start_container(self) -> None:
        """Start the container and wait until its entrypoint runs KEEPALIVE_SCRIPT. Log the entrypoint's output."""
        started_at = time.time()
        await self._client.start_container(self._container)
        async for output in self._client.logs(self._container, since=started_at, follow=True):
            if output.endswith(READY_LINE):
                self._log.write(output.removesuffix(READY_LINE))
                self._is_running = True
                return
            self._log.write(output)
        raise DockerError(exited_at_once(self._image))

    async def _ensure_image(self, image: Image) -> str:
        name = Template(image.name).safe_substitute(self._variables)
        await ensure_image(
            self._client, name, image.pull_policies, self._job.logins, self._docker, self._log.write_line
        )
        return name

    async def _start_service(self, number: int, service: Image) -> None:
        """Start a service. If it does not start in time, log a warning with its output. The job continues."""
        name = await self._ensure_image(service)
        container_name = f"{self._name}-{number}"
        description = await self._container_config(
            container_name, service_aliases(service), name, service.entrypoint, service.command
        )
        environment = service_environment(self._job, service, self._variables)
        description["Env"] = [f"{key}={value}" for key, value in environment.items()]
        self._log.write_line(f"Starting service {name}")
        container = await self._client.create_container(container_name, description)
        await self._client.start_container(container)
        if not await self._wait_for_port(container_name, container):
            self._log.write_line(f"WARNING: service {name} did not start or did not open its port. Its output:")
            output = [chunk async for chunk in self._client.logs(container)]
            self._log.write(b"".join(output[-LOG_TAIL_CHUNKS:]))

    async def _wait_for_port(self, name: str, container: str) -> bool:
        """Wait until the service accepts connections. Return False if it exits or does not open its port in time."""
        clock = asyncio.get_running_loop().time
        started_at = clock()
        while clock() < started_at + SERVICE_START_TIMEOUT_SECONDS:
            state = await self._client.inspect(container)
            ports = [int(port.split("/")[0]) for port in state["Config"].get("ExposedPorts") or () if "/tcp" in port]
            if not state["State"]["Running"]:
                return False
            if not ports:  # with no port to check, a service that keeps running counts as started
                if clock() > started_at + PORTLESS_SERVICE_SECONDS:
                    return True
                await asyncio.sleep(0.2)
                continue
            if await self._network.accepts_connections(name, state, min(ports)):
                return True
            await asyncio.sleep(0.2)
        return False

    async def _container_config(
        self,
        name: str,
        aliases: list[str],
        image: str,
        entrypoint: tuple[str, ...] | None,
        command: tuple[str, ...] | None,
    ) -> dict[str, Any]:
        endpoint = await self._network.endpoint(name, aliases)
        return {
            "Image": image,
            "Labels": self._labels,
            **({"Entrypoint": list(entrypoint)} if entrypoint else {}),
            **({"Cmd": list(command)} if command else {}),
            **endpoint,
            "HostConfig": {**host_config(self._docker), **endpoint["HostConfig"]},
        }

    async def _reclaim_checkout(self) -> None:
        """Make the agent's user the owner of the checkout, so that it can read and remove all files."""
        checkout = str(self._workspace.checkout)
        if os.getuid() != 0 and not await reclaim_ownership(
            self._client, self._image, checkout, self._labels, self._own
        ):
            self._log.write_line(
                "WARNING: the owner of the job's files could not be changed; the agent may fail to read or remove them"
            )
