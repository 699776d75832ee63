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

from agent.config import Config, Docker
from agent.engine import Engine, EngineError
from agent.images import bring, split_image
from agent.job import Image, Job
from agent.shell import KILL_AFTER, interpreter
from agent.strays import abandoned
from agent.trace import Trace
from agent.workspace import Workspace

logger = logging.getLogger("headrace.agent")

AGENT = "headrace.agent"  # labels of all that is made here
RUN = "headrace.run"
FOLDER = "headrace.folder"
CHECKOUT = "headrace.checkout"
JOB = "headrace.job"
READY = b"headrace: ready\n"
# It outlives the polite signal, which a step's end sends to everybody in the container.
IDLE = f"trap '' TERM; echo '{READY.decode().strip()}'; while sleep 3600; do :; done"
SERVICE_SECONDS = 30.0  # what a service gets to open its port
ROOT = ("", "0", "root")
PORTLESS_SECONDS = 1.0  # for which one without a port is watched
LAST_WORDS = 50  # pieces of output of a service that failed


def aliases(image: Image) -> list[str]:
    """The names under which a service is found: those asked for, and those made of its image."""
    repository = re.sub(r":\d+/", "/", split_image(image.name)[0])
    return list(dict.fromkeys([*image.aliases, repository.replace("/", "__"), repository.replace("/", "-")]))


def limits(docker: Docker) -> dict[str, Any]:
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


async def remove_all(engine: Engine, label: str) -> None:
    for container in await engine.containers(label):
        await engine.remove(container["Id"])
    for network in await engine.networks(label):
        await engine.remove_network(network["Id"])


async def take_back(engine: Engine, image: str, checkout: str, labels: Mapping[str, str]) -> bool:
    """Make the files of a checkout those of the agent's user, with root's rights in a container for just that."""
    description = {
        "Image": image,
        "Labels": dict(labels),
        "User": "0",
        "Entrypoint": ["chown", "-R", f"{os.getuid()}:{os.getgid()}", checkout],
        "Cmd": [],
        "HostConfig": {**limits(Docker()), "NetworkMode": "none", "Mounts": [_mount(Path(checkout))]},
    }
    container = await engine.create(f"headrace-{secrets.token_hex(6)}", description)
    try:
        await engine.start(container)
        return await engine.wait(container) == 0
    finally:
        await engine.remove(container)


def _mount(path: Path, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(path), "Target": str(path), "ReadOnly": read_only}


async def sweep(engine: Engine, config: Config) -> None:
    """Remove what runs of this agent left behind that died."""
    mine = f"{AGENT}={config.system_id}"
    left = [*await engine.containers(mine), *await engine.networks(mine)]
    for run in {each["Labels"][RUN] for each in left}:
        if abandoned(Path(run)):
            logger.info("removing the containers that %s left behind", run)
            await remove_all(engine, f"{RUN}={run}")
            for image, checkout in _foreign_checkouts(left, run):
                await take_back(engine, image, checkout, {AGENT: config.system_id, RUN: run})


def _foreign_checkouts(left: Iterable[Any], run: str) -> set[tuple[str, str]]:
    """With their images. Root can remove anything without more ado."""
    labelled = [(each, each["Labels"].get(CHECKOUT, "")) for each in left if each["Labels"][RUN] == run]
    return {(each["Image"], folder) for each, folder in labelled if os.getuid() != 0 and os.path.isdir(folder)}


class DockerExecutor:
    def __init__(self, engine: Engine, config: Config, job: Job, workspace: Workspace, trace: Trace) -> None:
        self._engine = engine
        self._docker = config.docker
        self._program = config.shell
        self._job = job
        self._workspace = workspace
        self._trace = trace
        self._name = f"headrace-{workspace.folder.name}"
        self._labels = {
            AGENT: config.system_id,
            RUN: str(workspace.folder.parent),
            FOLDER: str(workspace.folder),
            JOB: str(job.id),
        }
        self._values = workspace.contained_environment
        self._container = ""
        self._image = ""
        self._up = False

    async def prepare(self) -> None:
        image = self._job.image or (Image(self._docker.image) if self._docker.image else None)
        if image is None:
            raise EngineError("the job names no image, and docker.image of this agent none for such jobs")
        self._image = await self._bring(image)
        await self._engine.create_network(self._name, self._labels)
        try:
            async with asyncio.TaskGroup() as group:
                for number, service in enumerate(self._job.services):
                    group.create_task(self._serve(number, service))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        user = self._docker.user or await self._engine.user_of(self._image)
        self._workspace.share(writable=user.partition(":")[0] not in ROOT)
        # what the agent writes must not be led elsewhere by a container
        mounts = [_mount(self._workspace.checkout), _mount(self._workspace.private, read_only=True)]
        description = {
            **self._described(self._image, image.entrypoint, ("sh", "-c", IDLE), ["build"]),
            "WorkingDir": str(self._workspace.checkout),
            "User": user,
            "Labels": {**self._labels, CHECKOUT: str(self._workspace.checkout)},
        }
        description["HostConfig"] |= {"Binds": list(self._docker.volumes), "Mounts": mounts}
        self._container = await self._engine.create(self._name, description)
        await self._start()

    async def run(self, number: int, script: str, more: Mapping[str, str]) -> int:
        path = self._workspace.script(number, script)
        if not self._up:  # the end of another step took all of the container down
            await self._start()
        step = asyncio.create_task(
            self._engine.execute(
                self._container,
                ["sh", "-c", 'exec "$@" 2>&1', "sh", *interpreter(self._program), str(path)],
                self._trace.write,
                environment={**self._workspace.contained_environment, "CI_JOB_IMAGE": self._image, **more},
                cwd=str(self._workspace.checkout),
            )
        )
        try:
            return await asyncio.shield(step)
        finally:
            if not step.done():
                await self._end(step)

    async def close(self) -> None:
        try:
            await remove_all(self._engine, f"{FOLDER}={self._workspace.folder}")
            if self._container:
                await self._take_checkout_back()
        except EngineError as error:  # the next start finds what is left
            logger.warning("job %d: %s", self._job.id, error)
        finally:
            await self._engine.close()

    async def _end(self, step: asyncio.Task[int]) -> None:
        """Ask all that runs in the container to leave, then make it."""
        self._up = False
        try:
            polite = ["sh", "-c", "kill -TERM -1"]
            await self._engine.execute(self._container, polite, self._trace.write, user="0")
            await asyncio.wait([step], timeout=KILL_AFTER)
            await self._engine.kill(self._container)
            await asyncio.wait([step], timeout=KILL_AFTER)
        except EngineError as error:  # what remains goes with the container
            self._trace.line(f"WARNING: {error}")
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)

    async def _start(self) -> None:
        """Through the entry point of the image, whose own words belong to the log."""
        begun = time.time()
        await self._engine.start(self._container)
        async for said in self._engine.logs(self._container, since=begun, follow=True):
            if said.endswith(READY):
                self._trace.write(said.removesuffix(READY))
                self._up = True
                return
            self._trace.write(said)
        raise EngineError(
            f'the container of {self._image} ended at once: it needs a shell, and an entry point (`entrypoint: [""]` '
            "is none) that runs what it is given"
        )

    async def _bring(self, image: Image) -> str:
        name = Template(image.name).safe_substitute(self._values)
        await bring(self._engine, name, image.pull_policies, self._job.logins, self._docker, self._trace.line)
        return name

    async def _serve(self, number: int, service: Image) -> None:
        """Start a service; one that does not come up is told of, and the job decides what it is worth."""
        name = await self._bring(service)
        own = {each.key: Template(each.value).safe_substitute(self._values) for each in service.variables}
        # a secret reaches it only by a variable of its own: whoever looks at a container sees these
        plain = (each.key for each in self._job.variables if not (each.masked or each.file))
        open_ones = {key: self._values[key] for key in plain if key in self._values}
        description = self._described(name, service.entrypoint, service.command, aliases(service))
        description["Env"] = [f"{key}={value}" for key, value in (open_ones | own).items()]
        self._trace.line(f"Starting service {name}")
        container = await self._engine.create(f"{self._name}-{number}", description)
        await self._engine.start(container)
        if not await self._opens(container):
            self._trace.line(f"WARNING: service {name} did not open its port; it said:")
            words = [said async for said in self._engine.logs(container)]
            self._trace.write(b"".join(words[-LAST_WORDS:]))

    async def _opens(self, container: str) -> bool:
        clock = asyncio.get_running_loop().time
        begun = clock()
        while clock() < begun + SERVICE_SECONDS:
            known = await self._engine.inspect(container)
            ports = [int(port.split("/")[0]) for port in known["Config"].get("ExposedPorts") or () if "/tcp" in port]
            if not known["State"]["Running"]:
                return False
            if not ports:  # nothing to try: it is well if it lives on
                if clock() > begun + PORTLESS_SECONDS:
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

    def _described(
        self, image: str, entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, names: list[str]
    ) -> dict[str, Any]:
        return {
            "Image": image,
            "Labels": self._labels,
            **({"Entrypoint": list(entrypoint)} if entrypoint else {}),
            **({"Cmd": list(command)} if command else {}),
            "HostConfig": {**limits(self._docker), "NetworkMode": self._name},
            "NetworkingConfig": {"EndpointsConfig": {self._name: {"Aliases": names}}},
        }

    async def _take_checkout_back(self) -> None:
        """What users of the container made could not be collected or removed by another one of this machine."""
        checkout = str(self._workspace.checkout)
        if os.getuid() != 0 and not await take_back(self._engine, self._image, checkout, self._labels):
            self._trace.line("WARNING: files that the job made cannot be read or removed by the agent")
