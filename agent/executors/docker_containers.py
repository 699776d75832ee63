"""Labels, limits and mounts of job containers, and the removal of containers that earlier runs left behind."""

import logging
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.config import Config, DockerSettings
from agent.executors.docker_client import DockerClient
from agent.executors.own_container import OwnContainer, find_own_container
from agent.processes.control_groups import CPU_PERIOD_MICROSECONDS
from agent.processes.run_directories import is_abandoned

logger = logging.getLogger("headrace.agent")

AGENT_LABEL = "headrace.agent"  # label of all containers and networks of an agent
RUN_LABEL = "headrace.run"
JOB_FOLDER_LABEL = "headrace.folder"
CHECKOUT_LABEL = "headrace.checkout"
JOB_LABEL = "headrace.job"


def host_config(docker: DockerSettings) -> dict[str, Any]:
    return {
        "Memory": docker.memory_bytes,
        "MemorySwap": docker.memory_bytes,
        # not NanoCpus, which the engine rejects if the machine has fewer CPUs
        "CpuPeriod": CPU_PERIOD_MICROSECONDS,
        "CpuQuota": int(docker.cpus * CPU_PERIOD_MICROSECONDS),
        "PidsLimit": docker.pids,
        "CapDrop": ["ALL"],
        "CapAdd": list(docker.cap_add),
        "SecurityOpt": ["no-new-privileges"],
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    }


async def remove_labeled(client: DockerClient, label: str) -> None:
    """Remove all containers and networks with a label, given as `name=value`."""
    for container in await client.list_containers(label):
        await client.remove_container(container["Id"])
    for network in await client.list_networks(label):
        await client.remove_network(network["Id"])


async def reclaim_ownership(
    client: DockerClient, image: str, checkout: str, labels: Mapping[str, str], own: OwnContainer | None
) -> bool:
    """Run chown as root in a container to make the agent's user the owner of a checkout. Return False on failure."""
    mounts = [bind_mount(Path(checkout), own)]
    description = {
        "Image": image,
        "Labels": dict(labels),
        "User": "0",
        "Entrypoint": ["chown", "-R", f"{os.getuid()}:{os.getgid()}", checkout],
        "Cmd": [],
        "HostConfig": {
            **host_config(DockerSettings()),
            "NetworkMode": "none",
            "Mounts": mounts,
        },
    }
    container = await client.create_container(f"headrace-{secrets.token_hex(6)}", description)
    try:
        await client.start_container(container)
        return await client.wait(container) == 0
    finally:
        await client.remove_container(container)


def bind_mount(path: Path, own: OwnContainer | None, *, read_only: bool = False) -> dict[str, Any]:
    """Return a mount of an agent's folder at the same path. `own`: the agent's container; None: it runs on the host."""
    source = own.host_path(path) if own else path
    return {"Type": "bind", "Source": str(source), "Target": str(path), "ReadOnly": read_only}


async def remove_orphans(client: DockerClient, config: Config) -> None:
    """Remove containers and networks that earlier runs of this agent left behind.

    Then make the agent's user the owner of their checkouts, so that it can remove them.
    """
    label = f"{AGENT_LABEL}={config.system_id}"
    own = await find_own_container(client)
    orphans = [*await client.list_containers(label), *await client.list_networks(label)]
    for run in {orphan["Labels"][RUN_LABEL] for orphan in orphans}:
        if is_abandoned(Path(run)):
            logger.info("removing orphaned containers of run %s", run)
            await remove_labeled(client, f"{RUN_LABEL}={run}")
            for image, checkout in _checkouts_to_reclaim(orphans, run):
                await reclaim_ownership(client, image, checkout, {AGENT_LABEL: config.system_id, RUN_LABEL: run}, own)


def _checkouts_to_reclaim(orphans: Iterable[Any], run: str) -> set[tuple[str, str]]:
    """Return image and path of each checkout of a run that may have files of other users.

    Empty if the agent runs as root, which can remove such files.
    """
    labeled = [
        (orphan, orphan["Labels"].get(CHECKOUT_LABEL, "")) for orphan in orphans if orphan["Labels"][RUN_LABEL] == run
    ]
    return {(orphan["Image"], folder) for orphan, folder in labeled if os.getuid() != 0 and os.path.isdir(folder)}
