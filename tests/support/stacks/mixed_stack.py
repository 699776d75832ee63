"""A stack with processes of two releases, started and stopped one by one as in a rolling upgrade."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.process import Process, Program
from infra.local.servers import Servers, local_servers
from infra.local.stack import ProgramFactory, Stack, reserve_gateway_port
from libs.settings import Settings
from tests.support.stacks.release_code import ISOLATED_COMMAND, release_environment
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until

CURRENT_COMMAND = (sys.executable, "-m", "infra")
READY_TIMEOUT = 60.0  # maximum seconds until a process is ready or a command has exited
SHUTDOWN_TIMEOUT = 20.0


@dataclass
class MixedStack(RunningStack):
    """A stack without a supervisor. `old` and `new` define the processes of the two releases."""

    servers: Servers = field(kw_only=True)
    old: Stack = field(kw_only=True, repr=False)
    new: Stack = field(kw_only=True, repr=False)
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def mongodb_url(self) -> str:
        return self.servers.mongodb_url

    def nats_url_for(self, login: str) -> str:
        return self.servers.nats_url_for(login)

    def start(self, prefix: str, *plans: ProgramFactory) -> list[str]:
        """Start the processes and wait until all are ready. Return their names."""
        started = {}
        for plan in plans:
            program = plan()
            started[f"{prefix} {program.name}"] = Process(_with_name_prefix(prefix, program))
        for process in started.values():
            process.start()
        self.processes |= started
        for process in started.values():
            process.wait_ready(READY_TIMEOUT)
        return list(started)

    def run_once(self, prefix: str, program: Program) -> None:
        """Run a program until it exits. Raises OperatorError if its exit status is not 0."""
        process = Process(_with_name_prefix(prefix, program))
        process.start()
        wait_until(lambda: process.exit_status() is not None, READY_TIMEOUT, f"{program.name} did not exit")
        if process.exit_status() != 0:
            raise process.failure("failed")

    def stop(self, name: str) -> None:
        """Stop a process with SIGTERM. Raises OperatorError if its exit status is not 0."""
        process = self.processes.pop(name)
        process.stop(SHUTDOWN_TIMEOUT)
        if (status := process.exit_status()) != 0:
            raise process.failure(f"exited with status {status}")

    def read_versions(self) -> dict[str, str]:
        """Return the version that each process reports at its health port."""
        probes = {
            name: process.program.health.replace("/readyz", "/healthz") for name, process in self.processes.items()
        }
        return {name: httpx.get(url).json()["version"] for name, url in probes.items()}


def _with_name_prefix(prefix: str, program: Program) -> Program:
    name = f"{prefix}-{program.name}"
    environment = {**(program.environment or {}), "HEADRACE_INSTANCE": name}
    return replace(program, log=program.log.with_name(f"{name}.log"), environment=environment)


@contextmanager
def mixed_stack(folder: Path, code: Path) -> Iterator[MixedStack]:
    """Start the servers. Tests then start processes of the current code and of the release in the folder `code`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "GIT_"))}
    port = ports.find_free_port()
    environ = inherited | {"HEADRACE_DATA": str(folder), "HEADRACE_PORT": str(port)}
    settings = Settings.from_environment(environ)
    with reserve_gateway_port(settings), local_servers(folder) as servers:
        data = DataFolder(folder)
        # given by URL, like an external server: then the migrations of both releases expect an initiated replica set
        settings = settings.model_copy(update={"mongodb_url": servers.mongodb_url})
        new = Stack(settings, data, servers.mongodb_url, servers.nats.program.address, environ, python=CURRENT_COMMAND)
        old = replace(new, environ=release_environment(code, environ), python=ISOLATED_COMMAND)
        stack = MixedStack(folder, settings.url, environ, servers=servers, old=old, new=new)
        try:
            yield stack
        finally:
            for name in reversed(list(stack.processes)):
                stack.processes.pop(name).stop()
