"""The programs of the embedded stack, each with the environment and the secrets it needs."""

import base64
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.nats_server import with_login
from infra.local.process import Child, OperatorError, Program
from infra.service_catalog import SERVICES
from libs.settings import SECRET_VARIABLES, Settings
from libs.sockets import bind_reuse_port

PASSED_SECRETS = {
    "identity": "HEADRACE_OIDC_CLIENT_SECRET",
    "notifications": "HEADRACE_MAIL_PASSWORD",
    "runners": "HEADRACE_REGISTRATION_TOKEN",
}
PYTHON_COMMAND = (sys.executable, "-m", "infra")
# By default glibc raises this threshold and keeps freed blocks per thread: 19 MB after the first sign-in.
MMAP_THRESHOLD_BYTES = str(1024 * 1024)
BUCKET_PREFIX = "HEADRACE_S3_"
LIMITED_LOGIN_MESSAGE = (
    "The login in HEADRACE_NATS_URL lacks permissions. `headrace server up` uses it for all processes, "
    "so it must be a NATS user without restrictions (docs/operating/nats.md)."
)
# called for each start of a process, because each start takes a free health port
ProgramFactory = Callable[[], Program]


@dataclass(frozen=True, slots=True)
class Stack:
    settings: Settings
    folder: DataFolder
    mongodb_url: str = field(repr=False)
    nats_address: str = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    nodes: int = 1  # number of embedded servers of each kind
    python: tuple[str, ...] = PYTHON_COMMAND
    fork: Callable[[Program], Child | None] | None = None

    def migration(self) -> Program:
        """Return the program of the migration. It also lets the embedded MongoDB elect a primary."""
        embedded = () if self.settings.mongodb_url else ("--embedded-mongodb", *_ports_of(self.mongodb_url))
        return self._build_program("migrate", ("migrate", *embedded), self._service_environment("migrate"))

    def services(self) -> list[ProgramFactory]:
        return [
            self._program_factory(f"{service}-{replica}", ("service", service), self._service_environment(service))
            for service in SERVICES
            for replica in range(self.settings.replicas)
        ]

    def gateways(self) -> list[ProgramFactory]:
        return [
            self._program_factory(
                f"gateway-{replica}", ("gateway",), self._service_environment("gateway"), self.settings.url
            )
            for replica in range(self.settings.replicas)
        ]

    def agent_registration(self) -> Program:
        """Return the program that registers the agent. It is a process of its own to save memory in the supervisor."""
        environment = self._agent_environment() | {"HEADRACE_ADMIN_PASSWORD": self.admin_password()}
        return self._build_program("agent-registration", ("register-local-agent",), environment)

    def agent(self) -> ProgramFactory:
        return self._program_factory("agent", ("run-local-agent",), self._agent_environment())

    def admin_password(self) -> str:
        return self.settings.admin_password or self.folder.secret("admin-password")

    def _program_factory(
        self, name: str, arguments: tuple[str, ...], environment: dict[str, str], address: str = ""
    ) -> ProgramFactory:
        def program() -> Program:
            port = ports.find_free_port()
            return self._build_program(
                name,
                arguments,
                environment | {"HEADRACE_HEALTH_PORT": str(port), "HEADRACE_INSTANCE": name},
                is_ready=lambda: ports.is_http_ok(port, "/readyz"),
                address=address or f"http://127.0.0.1:{port}",
                health=f"http://127.0.0.1:{port}/readyz",
            )

        return program

    def _build_program(
        self,
        name: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        is_ready: Callable[[], bool] = lambda: False,
        address: str = "",
        health: str = "",
    ) -> Program:
        return Program(
            name=name,
            argv=self.python + arguments,
            log=self.folder.log(name),
            is_ready=is_ready,
            environment=environment,
            address=address,
            health=health,
            explain_failure=_last_error,
            fork=None if name == "agent" else self.fork,  # the agent's jobs must not inherit from the fork server
        )

    def nats_url_for(self, login: str) -> str:
        """Return the configured NATS URL, or the embedded servers' URL with this login."""
        return self.settings.nats_url or with_login(self.nats_address, self.folder, login)

    def _service_environment(self, service: str) -> dict[str, str]:
        common = self.common_environment()
        if service == "identity":
            common["HEADRACE_ADMIN_PASSWORD"] = self.admin_password()
        if (entrusted := PASSED_SECRETS.get(service, "")) in self.environ:
            common[entrusted] = self.environ[entrusted]
        if service == "builds":
            common |= {name: value for name, value in self.environ.items() if name.startswith(BUCKET_PREFIX)}
        return {"HEADRACE_LOCAL_REPOSITORIES": "true"} | common | server_environment(self, service)

    def _agent_environment(self) -> dict[str, str]:
        """Return the agent's environment. It has none of Headrace's secrets, because jobs run with it."""
        return self.common_environment() | {"HEADRACE_AGENT_CONFIG": str(self.folder.agent_config)}

    def common_environment(self) -> dict[str, str]:
        """Return the variables that all processes get. They contain none of Headrace's secrets."""
        dropped = {*SECRET_VARIABLES, "PYTHONDONTWRITEBYTECODE"}  # stored bytecode makes later starts faster
        inherited = {name: value for name, value in self.environ.items() if name not in dropped}
        replicated = self.nodes > 1 and not self.settings.nats_url
        copies = {"HEADRACE_STREAM_REPLICAS": str(self.nodes)} if replicated else {}
        return (
            copies
            | {name: value for name, value in inherited.items() if not name.startswith(BUCKET_PREFIX)}
            | {
                "HEADRACE_DATA": str(self.folder.path),
                "HEADRACE_URL": self.settings.url,
                "PYTHONUNBUFFERED": "1",
                "MALLOC_MMAP_THRESHOLD_": MMAP_THRESHOLD_BYTES,
            }
        )


def server_environment(stack: Stack, login: str) -> dict[str, str]:
    """Return the environment variables with the servers' URLs and the master key."""
    key = stack.environ.get("HEADRACE_MASTER_KEY", "").strip()
    return {
        "HEADRACE_MONGODB_URL": stack.mongodb_url,
        "HEADRACE_NATS_URL": stack.nats_url_for(login),
        "HEADRACE_MASTER_KEY": key
        or stack.folder.secret("master-key", base64.b64encode(secrets.token_bytes(32)).decode()),
    }


@contextmanager
def reserve_gateway_port(settings: Settings) -> Iterator[None]:
    """Reserve the gateway's port for the block, also while no gateway listens.

    Raises OperatorError if another program uses the port.
    """
    host, port = settings.host, settings.port
    if ports.is_taken(host, port):
        raise OperatorError(
            f"Port {port} on {host} is used by another program. "
            f"Stop that program, or select another port: HEADRACE_PORT={port + 1} headrace server up"
        )
    with bind_reuse_port(host, port) as ours:  # receives no connections, because it does not listen
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # otherwise Linux lets other programs listen on it
        yield


def _ports_of(mongodb_url: str) -> list[str]:
    return [host.rpartition(":")[2] for host in urlsplit(mongodb_url).netloc.split(",")]


def _last_error(log: str) -> str:
    """Return the last error message in a process's log, an explanation if NATS permissions are missing, or ""."""
    if "permissions violation" in log.lower():
        return LIMITED_LOGIN_MESSAGE
    return next((line[10:] for line in reversed(log.splitlines()) if line.startswith("headrace: ")), "")
