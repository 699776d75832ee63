"""The servers that tests use: child processes, or containers with STACK=containers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.data_folder import DataFolder
from infra.local.nats_server import nats_server_program
from infra.local.process import Process, Program
from infra.local.servers import Servers, local_servers

__all__ = ["STACK", "Process", "Servers", "describe_servers", "running_nats", "running_servers"]

STACK = os.environ.get("STACK") or "embedded"
LISTEN_HOSTS = {"embedded": "127.0.0.1", "containers": "0.0.0.0"}  # noqa: S104 - in a container that publishes on the loopback


def describe_servers() -> str:
    """Return a sentence about the servers in use. Raise ValueError for an invalid STACK or if Docker is unavailable."""
    if STACK == "embedded":
        return "servers: the embedded mongod and nats-server, because STACK does not ask for containers"
    if STACK != "containers":
        raise ValueError(f"STACK is embedded or containers, not {STACK!r}.")
    from tests.support.infrastructure.containers import IMAGES, find_docker_problem

    if reason := find_docker_problem():
        raise ValueError(f"STACK=containers, but {reason}.")
    return f"servers: containers of {' and '.join(IMAGES.values())}, because STACK=containers; e2e has embedded ones"


def create_process(program: Program) -> Process:
    if STACK == "embedded":
        return Process(program)
    # imported late: the Docker libraries take half a second to import
    from tests.support.infrastructure.containers import ContainerProcess

    return ContainerProcess(program)


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    with local_servers(folder, create_process, LISTEN_HOSTS[STACK], unlimited=True, throw_away=True) as servers:
        yield servers


@contextmanager
def running_nats(folder: Path) -> Iterator[Process]:
    data = DataFolder(folder)
    data.prepare()
    server = create_process(nats_server_program(data, LISTEN_HOSTS[STACK], unlimited=True))
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()
