"""A real mongod and a real nats-server for as long as a block runs: what tests and benchmarks stand on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.data_folder import DataFolder
from infra.local.mongod import mongod_program
from infra.local.nats_server import nats_server_program, with_login
from infra.local.process import Process, Program


@dataclass(frozen=True, slots=True)
class Servers:
    mongod: Process
    nats: Process
    folder: DataFolder
    unlimited: bool = False

    @property
    def mongodb_url(self) -> str:
        return self.mongod.program.url

    @property
    def nats_url(self) -> str:
        return self.nats.program.url if self.unlimited else self.nats_url_for("migrate")

    def nats_url_for(self, login: str) -> str:
        return with_login(self.nats.program.address, self.folder, login)


@contextmanager
def local_servers(
    folder: Path,
    create_process: Callable[[Program], Process] = Process,
    listen: str = "127.0.0.1",
    *,
    unlimited: bool = False,
    throw_away: bool = False,
) -> Iterator[Servers]:
    """Ready after about a second. To see what a crash does: `servers.nats.kill()`, `.start()`, `.wait_ready()`.

    `unlimited`: `nats_url` may do everything on NATS; otherwise it is that of the operator.
    `throw_away`: nobody reads the data afterwards, so the servers are killed, which saves the second of a clean end.
    """
    data = DataFolder(folder)
    data.prepare()
    servers = Servers(
        create_process(mongod_program(data, listen)),
        create_process(nats_server_program(data, listen, unlimited=unlimited)),
        data,
        unlimited,
    )
    try:
        for server in (servers.mongod, servers.nats):
            server.start()
        for server in (servers.mongod, servers.nats):
            server.wait_ready()
        yield servers
    finally:
        for server in (servers.nats, servers.mongod):
            if throw_away:
                server.kill()
            else:
                server.stop()
