"""A local cluster of nats-servers, which tests can suspend, kill and start one by one."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.nats_server import UNLIMITED_LOGIN, nats_server_program
from infra.local.process import Process


@contextmanager
def frozen(server: Process) -> Iterator[None]:
    """Suspend the server for the block: its connections stay open, but it does not respond."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if server.exit_status() is None:
            os.kill(server.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class NatsCluster:
    servers: Sequence[Process]
    folder: DataFolder  # contains the logins' passwords

    @property
    def addresses(self) -> list[str]:
        return [server.program.address.removeprefix("nats://") for server in self.servers]

    def url(self, login: str = UNLIMITED_LOGIN, *server_numbers: int) -> str:
        """Return HEADRACE_NATS_URL with the addresses of all servers, or of the servers with these numbers."""
        chosen = [self.addresses[number] for number in server_numbers] or self.addresses
        return f"nats://{login}:{self.folder.secret(f'nats-{login}')}@{','.join(chosen)}"

    def server_at(self, netloc: str) -> Process:
        return self.servers[self.addresses.index(netloc)]

    def list_clients_by_server(self) -> list[list[str]]:
        return [
            [connection.get("name", "") for connection in _get_monitoring_page(server, "connz")["connections"]]
            for server in self.servers
        ]


def _get_monitoring_page(server: Process, page: str) -> dict[str, list[dict[str, str]]]:
    address = server.program.health.replace("healthz", page)
    return dict(httpx.get(address, timeout=5).raise_for_status().json())


@contextmanager
def nats_cluster(
    folder: Path, size: int = 3, *, extra_config: str = "", edit_config: Callable[[str], str] = lambda text: text
) -> Iterator[NatsCluster]:
    """Run a cluster. `edit_config` changes the text of each server's nats.conf; then `extra_config` is appended."""
    folders = [DataFolder(folder / f"nats-{number}") for number in range(size)]
    routes = [ports.find_free_port() for _ in folders]
    servers = []
    for number, data in enumerate(folders):
        data.prepare()
        if number:
            shutil.copytree(folders[0].path / "secrets", data.path / "secrets", dirs_exist_ok=True)
        program = nats_server_program(data, unlimited=True)
        peers = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        listen = f"127.0.0.1:{routes[number]}"
        ring = (
            f'cluster {{ name: test, listen: "{listen}", routes: [{peers}], ping_interval: "2s", ping_max: 2 }}\n'
            if size > 1
            else ""
        )
        config = data.path / "nats" / "nats.conf"
        config.write_text(f"{edit_config(config.read_text())}server_name: n{number}\n{ring}{extra_config}\n")
        servers.append(Process(program))
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_ready()
        yield NatsCluster(servers, folders[0])
    finally:
        for server in servers:
            server.kill()
