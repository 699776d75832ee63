"""Runs the steps of a job in a container, with its services beside it in a network of its own.

Checkout and files are made outside and mounted at the same place. One container lives as long as the job, and each step
is a program in it; so the environment of the steps, with its secrets, is in no description of a container.
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
from agent.processes.process_cleanup import is_abandoned
from agent.processes.program import KILL_DELAY_SECONDS, interpreter_command
from agent.protocol.job import Image, Job

logger = logging.getLogger("headrace.agent")

AGENT_LABEL = "headrace.agent"  # labels of all that is made here
RUN_LABEL = "headrace.run"
JOB_FOLDER_LABEL = "headrace.folder"
CHECKOUT_LABEL = "headrace.checkout"
JOB_LABEL = "headrace.job"
READY_LINE = b"headrace: ready\n"
# It outlives the polite signal, which a step's end sends to everybody in the container.
KEEPALIVE_SCRIPT = f"trap '' TERM; echo '{READY_LINE.decode().strip()}'; while sleep 3600; do :; done"
SERVICE_START_TIMEOUT_SECONDS = 30.0  # what a service gets to open its port
ROOT_USERS = ("", "0", "root")
PORTLESS_SERVICE_SECONDS = 1.0  # for which one without a port is watched
LOG_TAIL_CHUNKS = 50  # pieces of output of a service that failed


def service_aliases(image: Image) -> list[str]:
    """The names under which a service is found: those asked for, and those made of its image."""
    repository = re.sub(r":\d+/", "/", split_image(image.name)[0])
    return list(dict.fromkeys([*image.aliases, repository.replace("/", "__"), repository.replace("/", "-")]))


def host_config(docker: DockerSettings) -> dict[str, Any]:
    """What a container may take, and may not do."""
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


async def remove_labeled(engine: DockerClient, label: str) -> None:
    for container in await engine.list_containers(label):
        await engine.remove_container(container["Id"])
    for network in await engine.list_networks(label):
        await engine.remove_network(network["Id"])


async def reclaim_ownership(engine: DockerClient, image: str, checkout: str, labels: Mapping[str, str]) -> bool:
    """Make the files of a checkout those of the agent's user, with root's rights in a container for just that."""
    description = {
        "Image": image,
        "Labels": dict(labels),
        "User": "0",
        "Entrypoint": ["chown", "-R", f"{os.getuid()}:{os.getgid()}", checkout],
        "Cmd": [],
        "HostConfig": {**host_config(DockerSettings()), "NetworkMode": "none", "Mounts": [_bind_mount(Path(checkout))]},
    }
    container = await engine.create_container(f"headrace-{secrets.token_hex(6)}", description)
    try:
        await engine.start_container(container)
        return await engine.wait(container) == 0
    finally:
        await engine.remove_container(container)


def _bind_mount(path: Path, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": read_only}


async def remove_orphans(engine: DockerClient, config: Config) -> None:
    """Remove what runs of this agent left behind that died."""
    mine = f"{AGENT_LABEL}={config.system_id}"
    left = [*await engine.list_containers(mine), *await engine.list_networks(mine)]
    for run in {each["Labels"][RUN_LABEL] for each in left}:
        if is_abandoned(Path(run)):
            logger.info("removing the containers that %s left behind", run)
            await remove_labeled(engine, f"{RUN_LABEL}={run}")
            for image, checkout in _checkouts_to_reclaim(left, run):
                await reclaim_ownership(engine, image, checkout, {AGENT_LABEL: config.system_id, RUN_LABEL: run})


def _checkouts_to_reclaim(left: Iterable[Any], run: str) -> set[tuple[str, str]]:
    """With their images. Root can remove anything without more ado."""
    labelled = [(each, each["Labels"].get(CHECKOUT_LABEL, "")) for each in left if each["Labels"][RUN_LABEL] == run]
    return {(each["Image"], folder) for each, folder in labelled if os.getuid() != 0 and os.path.isdir(folder)}


class DockerExecutor:
    def __init__(self, engine: DockerClient, config: Config, job: Job, workspace: Workspace, trace: JobLog) -> None:
        self._client = engine
        self._docker = config.docker
        self._shell_program = config.shell
        self._job = job
        self._workspace = workspace
        self._log = trace
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
            raise DockerError("the job names no image, and docker.image of this agent none for such jobs")
        self._image = await self._ensure_image(image)
        await self._client.create_network(self._name, self._labels)
        try:
            async with asyncio.TaskGroup() as group:
                for number, service in enumerate(self._job.services):
                    group.create_task(self._start_service(number, service))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        user = self._docker.user or await self._client.image_user(self._image)
        self._workspace.make_readable(writable=user.partition(":")[0] not in ROOT_USERS)
        # what the agent writes must not be led elsewhere by a container
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
        if not self._is_running:  # the end of another step took all of the container down
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
        except DockerError as error:  # the next start finds what is left
            logger.warning("job %d: %s", self._job.id, error)
        finally:
            await self._client.close()

    async def _terminate(self, step: asyncio.Task[int]) -> None:
        """Ask all that runs in the container to leave, then make it."""
        self._is_running = False
        try:
            polite = ["sh", "-c", "kill -TERM -1"]
            await self._client.execute(self._container, polite, self._log.write, user="0")
            await asyncio.wait([step], timeout=KILL_DELAY_SECONDS)
            await self._client.kill(self._container)
            await asyncio.wait([step], timeout=KILL_DELAY_SECONDS)
        except DockerError as error:  # what remains goes with the container
            self._log.write_line(f"WARNING: {error}")
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)

    async def _start_container(self) -> None:
        """Through the entry point of the image, whose own words belong to the log."""
        begun = time.time()
        await self._client.start_container(self._container)
        async for said in self._client.logs(self._container, since=begun, follow=True):
            if said.endswith(READY_LINE):
                self._log.write(said.removesuffix(READY_LINE))
                self._is_running = True
                return
            self._log.write(said)
        raise DockerError(
            f'the container of {self._image} ended at once: it needs a shell, and an entry point (`entrypoint: [""]` '
            "is none) that runs what it is given"
        )

    async def _ensure_image(self, image: Image) -> str:
        name = Template(image.name).safe_substitute(self._variables)
        await ensure_image(
            self._client, name, image.pull_policies, self._job.logins, self._docker, self._log.write_line
        )
        return name

    async def _start_service(self, number: int, service: Image) -> None:
        """Start a service; one that does not come up is told of, and the job decides what it is worth."""
        name = await self._ensure_image(service)
        own = {each.key: Template(each.value).safe_substitute(self._variables) for each in service.variables}
        # a secret reaches it only by a variable of its own: whoever looks at a container sees these
        plain = (each.key for each in self._job.variables if not (each.masked or each.file))
        open_ones = {key: self._variables[key] for key in plain if key in self._variables}
        description = self._container_config(name, service.entrypoint, service.command, service_aliases(service))
        description["Env"] = [f"{key}={value}" for key, value in (open_ones | own).items()]
        self._log.write_line(f"Starting service {name}")
        container = await self._client.create_container(f"{self._name}-{number}", description)
        await self._client.start_container(container)
        if not await self._wait_for_port(container):
            self._log.write_line(f"WARNING: service {name} did not open its port; it said:")
            words = [said async for said in self._client.logs(container)]
            self._log.write(b"".join(words[-LOG_TAIL_CHUNKS:]))

    async def _wait_for_port(self, container: str) -> bool:
        clock = asyncio.get_running_loop().time
        begun = clock()
        while clock() < begun + SERVICE_START_TIMEOUT_SECONDS:
            known = await self._client.inspect(container)
            ports = [int(port.split("/")[0]) for port in known["Config"].get("ExposedPorts") or () if "/tcp" in port]
            if not known["State"]["Running"]:
                return False
            if not ports:  # nothing to try: it is well if it lives on
                if clock() > begun + PORTLESS_SERVICE_SECONDS:
                    return True
                await asyncio.sleep(0.2)
                continue
            address = known["NetworkSettings"]["Networks"][self._name]["IPAddress"]
            try:
                async with asyncio.timeout(1):
                    _, writer = await asyncio.open_connection(address, min(ports))
            except OSError:  # a time-out is one, too
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
        """What users of the container made could not be collected or removed by another one of this machine."""
        checkout = str(self._workspace.checkout)
        if os.getuid() != 0 and not await reclaim_ownership(self._client, self._image, checkout, self._labels):
            self._log.write_line("WARNING: files that the job made cannot be read or removed by the agent")
