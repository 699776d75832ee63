"""Runs the steps of a job in a Docker container, in a network shared only with the job's services.

The agent creates the checkout and the job's files, and mounts them at the same path in the container. One container
runs during the whole job, and each step is executed in it. The environment of the steps, which has secrets, is
therefore in no container's configuration.
"""

import asyncio
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from agent.config import Config, DockerSettings
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.docker_client import DockerClient, DockerError
from agent.executors.docker_images import ensure_image, split_image
from agent.processes.program import KILL_DELAY_SECONDS, interpreter_command
from agent.processes.run_directories import is_abandoned
from agent.protocol.job import Image, Job

logger = logging.getLogger("headrace.agent")

AGENT_LABEL = "headrace.agent"  # on all containers and networks of an agent
RUN_LABEL = "headrace.run"
JOB_FOLDER_LABEL = "headrace.folder"
CHECKOUT_LABEL = "headrace.checkout"
JOB_LABEL = "headrace.job"
READY_LINE = b"headrace: ready\n"
# Main process of the container. Canceling a step sends SIGTERM to all processes of the container, so it ignores
# SIGTERM.
KEEPALIVE_SCRIPT = f"trap '' TERM; echo '{READY_LINE.decode().strip()}'; while sleep 3600; do :; done"
SERVICE_START_TIMEOUT_SECONDS = 30.0  # maximum time until a service has opened its port
ROOT_USERS = ("", "0", "root")
PORTLESS_SERVICE_SECONDS = 1.0  # a service without a port counts as started if it runs for this time
LOG_TAIL_CHUNKS = 50  # number of output chunks logged for a service that did not start


def service_aliases(image: Image) -> list[str]:
    """Return a service's host names: its aliases, and the names that GitLab derives from the image."""
    repository = re.sub(r":\d+/", "/", split_image(image.name)[0])
    return list(dict.fromkeys([*image.aliases, repository.replace("/", "__"), repository.replace("/", "-")]))


def host_config(docker: DockerSettings) -> dict[str, Any]:
    return {
        "Memory": docker.memory_bytes,
        "MemorySwap": docker.memory_bytes,
        "NanoCpus": int(docker.cpus * 1e9),
        "PidsLimit": docker.pids,
        "CapDrop": ["ALL"],
        "CapAdd": list(docker.cap_add),
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    }


async def remove_labeled(client: DockerClient, label: str) -> None:
    """Remove all containers and networks with a label, given as `name=value`."""
    for container in await client.list_containers(label):
        await client.remove_container(container["Id"])
    for network in await client.list_networks(label):
        await client.remove_network(network["Id"])


async def reclaim_ownership(client: DockerClient, image: str, checkout: str, labels: Mapping[str, str]) -> bool:
    """Run chown as root in a container to make the agent's user the owner of a checkout. Return False on failure."""
    description = {
        "Image": image,
        "Labels": dict(labels),
        "User": "0",
        "Entrypoint": ["chown", "-R", f"{os.getuid()}:{os.getgid()}", checkout],
        "Cmd": [],
        "HostConfig": {**host_config(DockerSettings()), "NetworkMode": "none", "Mounts": [_bind_mount(Path(checkout))]},
    }
    container = await client.create_container(f"headrace-{secrets.token_hex(6)}", description)
    try:
        await client.start_container(container)
        return await client.wait(container) == 0
    finally:
        await client.remove_container(container)


def _bind_mount(path: Path, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": read_only}


async def remove_orphans(client: DockerClient, config: Config) -> None:
    """Remove containers and networks that earlier runs of this agent left behind."""
    label = f"{AGENT_LABEL}={config.system_id}"
    orphans = [*await client.list_containers(label), *await client.list_networks(label)]
    for run in {orphan["Labels"][RUN_LABEL] for orphan in orphans}:
        if is_abandoned(Path(run)):
            logger.info("removing orphaned containers of run %s", run)
            await remove_labeled(client, f"{RUN_LABEL}={run}")
            for image, checkout in _checkouts_to_reclaim(orphans, run):
                await reclaim_ownership(client, image, checkout, {AGENT_LABEL: config.system_id, RUN_LABEL: run})


def _checkouts_to_reclaim(orphans: Iterable[Any], run: str) -> set[tuple[str, str]]:
    """Return image and path of each checkout of a run that may have files of other users.

    Empty if the agent runs as root, which can remove such files.
    """
    labeled = [
        (orphan, orphan["Labels"].get(CHECKOUT_LABEL, "")) for orphan in orphans if orphan["Labels"][RUN_LABEL] == run
    ]
    return {(orphan["Image"], folder) for orphan, folder in labeled if os.getuid() != 0 and os.path.isdir(folder)}


class DockerExecutor:
    def __init__(self, client: DockerClient, config: Config, job: Job, workspace: Workspace, log: JobLog) -> None:
        self._client = client
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
        self._variables = workspace.container_environment
        self._container = ""
        self._image = ""
        self._is_running = False

    async def prepare(self) -> None:
        image = self._job.image or (Image(self._docker.image) if self._docker.image else None)
        if image is None:
            raise DockerError("the job has no image, and this agent's docker.image sets no default")
        self._image = await self._ensure_image(image)
        await self._client.create_network(self._name, self._labels)
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
        mounts = [_bind_mount(self._workspace.checkout), _bind_mount(self._workspace.private, read_only=True)]
        description = {
            **self._container_config(self._image, image.entrypoint, ("sh", "-c", KEEPALIVE_SCRIPT), ["build"]),
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
        step = asyncio.create_task(
            self._client.execute(
                self._container,
                ["sh", "-c", 'exec "$@" 2>&1', "sh", *interpreter_command(self._shell_program), str(path)],
                self._log.write,
                environment={**self._workspace.container_environment, "CI_JOB_IMAGE": self._image, **extra_environment},
                cwd=str(self._workspace.checkout),
            )
        )
        try:
            return await asyncio.shield(step)
        finally:
            if not step.done():
                await self._terminate(step)

    async def close(self) -> None:
        try:
            await remove_labeled(self._client, f"{JOB_FOLDER_LABEL}={self._workspace.folder}")
            if self._container:
                await self._reclaim_checkout()
        except DockerError as error:  # remove_orphans() removes the rest when the agent starts again
            logger.warning("job %d: %s", self._job.id, error)
        finally:
            await self._client.close()

    async def _terminate(self, step: asyncio.Task[int]) -> None:
        """Send SIGTERM to all processes. After the end of the step, or KILL_DELAY_SECONDS, kill the container."""
        self._is_running = False
        try:
            terminate = ["sh", "-c", "kill -TERM -1"]
            await self._client.execute(self._container, terminate, self._log.write, user="0")
            await asyncio.wait([step], timeout=KILL_DELAY_SECONDS)
            await self._client.kill(self._container)
            await asyncio.wait([step], timeout=KILL_DELAY_SECONDS)
        except DockerError as error:  # close() removes the container, which ends remaining processes
            self._log.write_line(f"WARNING: {error}")
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)

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
        raise DockerError(
            f"the container of {self._image} exited at once: the image needs a shell, and an entrypoint that runs the "
            'given command (`entrypoint: [""]` disables the entrypoint)'
        )

    async def _ensure_image(self, image: Image) -> str:
        name = Template(image.name).safe_substitute(self._variables)
        await ensure_image(
            self._client, name, image.pull_policies, self._job.logins, self._docker, self._log.write_line
        )
        return name

    async def _start_service(self, number: int, service: Image) -> None:
        """Start a service. If it does not start in time, log a warning with its output. The job continues."""
        name = await self._ensure_image(service)
        variables = {
            variable.key: Template(variable.value).safe_substitute(self._variables) for variable in service.variables
        }
        # no masked variables, because `docker inspect` shows a service's environment
        unmasked = (variable.key for variable in self._job.variables if not (variable.masked or variable.file))
        job_variables = {key: self._variables[key] for key in unmasked if key in self._variables}
        description = self._container_config(name, service.entrypoint, service.command, service_aliases(service))
        description["Env"] = [f"{key}={value}" for key, value in (job_variables | variables).items()]
        self._log.write_line(f"Starting service {name}")
        container = await self._client.create_container(f"{self._name}-{number}", description)
        await self._client.start_container(container)
        if not await self._wait_for_port(container):
            self._log.write_line(f"WARNING: service {name} did not start or did not open its port. Its output:")
            output = [chunk async for chunk in self._client.logs(container)]
            self._log.write(b"".join(output[-LOG_TAIL_CHUNKS:]))

    async def _wait_for_port(self, container: str) -> bool:
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
            address = state["NetworkSettings"]["Networks"][self._name]["IPAddress"]
            try:
                async with asyncio.timeout(1):
                    _, writer = await asyncio.open_connection(address, min(ports))
            except OSError:
                await asyncio.sleep(0.2)
            else:
                writer.close()
                return True
        return False

    def _container_config(
        self, image: str, entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, names: list[str]
    ) -> dict[str, Any]:
        return {
            "Image": image,
            "Labels": self._labels,
            **({"Entrypoint": list(entrypoint)} if entrypoint else {}),
            **({"Cmd": list(command)} if command else {}),
            "HostConfig": {**host_config(self._docker), "NetworkMode": self._name},
            "NetworkingConfig": {"EndpointsConfig": {self._name: {"Aliases": names}}},
        }

    async def _reclaim_checkout(self) -> None:
        """Make the agent's user the owner of the checkout, which it must be able to read and remove."""
        checkout = str(self._workspace.checkout)
        if os.getuid() != 0 and not await reclaim_ownership(self._client, self._image, checkout, self._labels):
            self._log.write_line(
                "WARNING: the owner of the job's files could not be changed; the agent may fail to read or remove them"
            )
