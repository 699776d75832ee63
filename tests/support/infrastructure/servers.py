"""The servers that tests use: child processes, or containers with STACK=containers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pymongo import MongoClient

from infra.local.data_folder import DataFolder
from infra.local.nats_server import nats_server_program
from infra.local.process import Process, Program
from infra.local.servers import Servers, local_servers
from libs.documents import Document

__all__ = ["STACK", "Process", "Servers", "describe_servers", "running_nats", "running_servers"]

STACK = os.environ.get("STACK") or "embedded"
LISTEN_HOSTS = {"embedded": "127.0.0.1", "containers": "0.0.0.0"}  # noqa: S104 - in a container that publishes on the loopback


def describe_servers() -> str:
    """Return a sentence about the servers in use. Raises ValueError if STACK is invalid or Docker is unavailable."""
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
def running_servers(folder: Path, *, journaled: bool = False) -> Iterator[Servers]:
    """Run both servers.

    Without `journaled`, writes do not wait for the journal, which halves the CPU time of mongod. Do not kill and
    restart mongod then: acknowledged writes would be lost.
    """
    create = create_process if journaled else create_without_journal
    with local_servers(folder, create, LISTEN_HOSTS[STACK], unlimited=True, throw_away=True) as servers:
        if not journaled:
            stop_waiting_for_journal(servers.mongodb_url)
        yield servers


def create_without_journal(program: Program) -> Process:
    return create_process(replace(program, url=f"{program.url}&journal=false") if program.name == "mongod" else program)


def stop_waiting_for_journal(mongodb_url: str) -> None:
    """Let a majority acknowledge writes that are not yet in its journal."""
    with MongoClient[Document](mongodb_url) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        changed = {"version": config["version"] + 1, "writeConcernMajorityJournalDefault": False}
        client.admin.command("replSetReconfig", config | changed)


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
