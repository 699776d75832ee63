"""A mongod and a nats-server for the duration of a block: for backups, tests and benchmarks."""

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
    """Start both servers, and stop them after the block.

    Raises OperatorError if the folder belongs to a stack with several nodes, or if a server cannot start.

    `unlimited`: `nats_url` has a login without restrictions instead of the login `migrate`. `throw_away`: kill the
    servers, which saves the second of their shutdown, because their data is no longer needed.
    """
    data = DataFolder(folder)
    data.prepare()
    data.require_one_node()
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
