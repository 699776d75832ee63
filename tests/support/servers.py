"""The servers that tests stand on: child processes, or containers with STACK=containers; the tests are the same."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.folder import DataFolder
from infra.local.nats import nats_server
from infra.local.process import Process, Program
from infra.local.servers import Servers, local_servers

__all__ = ["STACK", "Process", "Servers", "chosen", "lone_nats", "servers_in"]

STACK = os.environ.get("STACK") or "embedded"
LISTEN = {"embedded": "127.0.0.1", "containers": "0.0.0.0"}  # noqa: S104 - in a container that publishes on the loopback


def chosen() -> str:
    """What the tests run against and why, for people; ValueError where that cannot be."""
    if STACK == "embedded":
        return "servers: the embedded mongod and nats-server, because STACK does not ask for containers"
    if STACK != "containers":
        raise ValueError(f"STACK is embedded or containers, not {STACK!r}.")
    from tests.support.containers import IMAGES, unusable

    if reason := unusable():
        raise ValueError(f"STACK=containers, but {reason}.")
    return f"servers: containers of {' and '.join(IMAGES.values())}, because STACK=containers; e2e has embedded ones"


def run(program: Program) -> Process:
    if STACK == "embedded":
        return Process(program)
    from tests.support.containers import Contained  # here: its libraries take half a second that others need not pay

    return Contained(program)


@contextmanager
def servers_in(folder: Path) -> Iterator[Servers]:
    with local_servers(folder, run, LISTEN[STACK], unlimited=True, throw_away=True) as servers:
        yield servers


@contextmanager
def lone_nats(folder: Path) -> Iterator[Process]:
    data = DataFolder(folder)
    data.prepare()
    server = run(nats_server(data, LISTEN[STACK], unlimited=True))
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.kill()
