"""A real mongod and a real nats-server for as long as a block runs: what tests and benchmarks stand on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.folder import DataFolder
from infra.local.mongod import mongod
from infra.local.nats import nats_server
from infra.local.process import Process, Program


@dataclass(frozen=True, slots=True)
class Servers:
    mongod: Process
    nats: Process

    @property
    def mongodb_url(self) -> str:
        return self.mongod.program.url

    @property
    def nats_url(self) -> str:
        return self.nats.program.url


@contextmanager
def local_servers(
    folder: Path, run: Callable[[Program], Process] = Process, listen: str = "127.0.0.1"
) -> Iterator[Servers]:
    """Ready after about a second. To see what a crash does: `servers.nats.kill()`, `.start()`, `.wait_ready()`."""
    data = DataFolder(folder)
    data.prepare()
    servers = Servers(run(mongod(data, listen)), run(nats_server(data, listen)))
    try:
        for server in (servers.mongod, servers.nats):
            server.start()
        for server in (servers.mongod, servers.nats):
            server.wait_ready()
        yield servers
    finally:
        for server in (servers.nats, servers.mongod):
            server.stop()
