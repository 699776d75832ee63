"""A complete local stack. It is started and stopped with `headrace` and used over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from infra.local import ports
from infra.local.data_folder import DataFolder
from infra.local.nats_server import join_addresses, with_login
from infra.local.stack_state import ProcessState
from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.support.external.repositories import SPEC_FILE, create_sample_repository
from tests.support.waiting import wait_until

__all__ = ["JsonObject", "RunningStack", "create_sample_repository", "running_stack"]

HEADRACE_COMMAND = (sys.executable, "-m", "infra")
SERVICES = ("identity", "projects", "builds", "runners", "notifications")

AGENT_SLOTS = 2  # concurrent jobs of the agent; on a machine with more CPUs, one per CPU

JsonObject = dict[str, Any]
T = TypeVar("T")


@dataclass
class RunningStack:
    data: Path
    url: str
    environ: Mapping[str, str] = field(repr=False)
    admin: httpx.Client = field(repr=False, default_factory=httpx.Client)
    _builds: dict[str, int] = field(default_factory=dict)  # build id by executor id

    def run_headrace(self, *command: str, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            (*HEADRACE_COMMAND, *command), env={**self.environ, **environ}, capture_output=True, text=True, timeout=120
        )
        assert not check or result.returncode == 0, f"{command}: {result.stdout}\n{result.stderr}"
        return result

    def get_status(self) -> list[JsonObject]:
        return list(json.loads(self.run_headrace("status", "--json", check=False).stdout))

    def _read_processes(self) -> dict[str, JsonObject]:
        """Read the processes from the state file, because `headrace server status` takes half a second."""
        state = json.loads((self.data / "run" / "processes.json").read_text())
        return {process["name"]: process for process in state["processes"]}

    def process_addresses(self) -> list[str]:
        return [process["address"] for process in self._read_processes().values()]

    def process_at(self, address: str) -> str:
        """Return the name of the process with this address."""
        return next(name for name, process in self._read_processes().items() if process["address"] == address)

    def wait_for_pid(self, name: str) -> int:
        """Return the process id. While the process is being restarted, wait."""
        return wait_until(lambda: int(self._read_processes()[name]["pid"] or 0), message=f"{name} did not start")

    def is_ready(self, name: str) -> bool:
        return ProcessState(**self._read_processes()[name]).is_ready()

    def wait_until_ready(self, within: float = 60) -> None:
        deadline = time.monotonic() + within
        while missing := [name for name in self._read_processes() if not self.is_ready(name)]:
            assert time.monotonic() < deadline, f"not ready: {missing}"
            time.sleep(0.1)

    def stop_process(self, name: str, number: int = signal.SIGTERM, within: float = 30) -> float:
        """Signal the process and wait until the supervisor has noticed its exit. Return the seconds this took."""
        before = self.wait_for_pid(name)
        started = time.monotonic()
        os.kill(before, number)
        wait_until(lambda: self._read_processes()[name]["pid"] != before, within, f"{name} did not exit")
        return time.monotonic() - started

    def restart_process(self, name: str, number: int = signal.SIGTERM, within: float = 30) -> float:
        """Stop the process and wait until its successor is ready. Return the seconds until the process exited."""
        seconds = self.stop_process(name, number, within)
        wait_until(lambda: self.is_ready(name), within, f"{name} did not become ready again")
        return seconds

    async def get_leader(self, service: str) -> str:
        """Return the name of the process that is the service's leader."""
        bus = await connect(Settings(nats_url=self.nats_url_for(service)), "test")
        try:
            return (await bus.request(f"lead.{service}", timeout=2)).data.decode()
        finally:
            await bus.close()

    def list_nats_clients(self) -> list[str]:
        pages = (httpx.get(server["health"].replace("/healthz", "/connz")).json() for server in self._servers("nats-"))
        return [connection.get("name", "") for page in pages for connection in page["connections"] or []]

    def _servers(self, program: str) -> list[JsonObject]:
        return [process for name, process in self._read_processes().items() if name.startswith(program)]

    @property
    def mongodb_url(self) -> str:
        return str(self._servers("mongod")[0]["url"])

    @property
    def nats_url(self) -> str:
        return self.nats_url_for("migrate")

    def nats_url_for(self, login: str) -> str:
        address = join_addresses(str(server["address"]) for server in self._servers("nats-server"))
        return with_login(address, DataFolder(self.data), login)

    def list_logged_errors(self) -> list[str]:
        patterns = ('"level": "ERROR"', '"level": "CRITICAL"', " ERROR ", " CRITICAL ")
        died = "Traceback (most recent call last)"
        return [
            f"{log.name}: {line}"
            for log in sorted((self.data / "logs").glob("*.log"))
            if not log.stem.startswith(("mongod", "nats-server"))
            for line in log.read_text(errors="replace").splitlines()
            if any(pattern in line for pattern in patterns) or line.startswith(died)
        ]

    def create_client(self, token: str = "", **more: Any) -> httpx.Client:
        """Return a client without persistent connections, so that its requests reach all gateways."""
        return httpx.Client(
            base_url=f"{self.url}/api",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=20,
            **more,
        )

    def sign_in(self, username: str, password: str) -> httpx.Client:
        with self.create_client() as stranger:
            response = stranger.post("/auth/token", json={"auth": {"username": username, "password": password}})
        assert response.status_code == 200, response.text
        return self.create_client(response.json()["access_token"])

    def create(self, resource: str, **fields: Any) -> JsonObject:
        """Create a resource as the administrator, such as `create("secret", name="TOKEN", value="x")`."""
        response = self.admin.post(f"/admin/{resource}s", json={resource: fields})
        assert response.status_code == 201, response.text
        return dict(response.json())

    @cached_property
    def default_executor_id(self) -> int:
        [default] = [
            executor for executor in self.admin.get("/developer/executors").json() if executor["name"] == "default"
        ]
        return int(default["id"])

    def create_project(self, repository: Path | str, **settings: Any) -> int:
        defaults = {
            "name": f"project {uuid4().hex[:8]}",
            "repository": str(repository),
            "branch": "main",
            "spec_file_path": f"/{SPEC_FILE}",
            "allow_concurrent_execution": True,
            "executor_id": self.default_executor_id,
        }
        return int(self.create("project", **defaults | settings)["id"])

    def get_project(self, project_id: int) -> JsonObject:
        return dict(self.admin.get(f"/admin/projects/{project_id}").raise_for_status().json())

    def launch_build(
        self, project_id: int, *ignore_steps: str, key: str = "", client: httpx.Client | None = None
    ) -> str:
        response = (client or self.admin).post(
            f"/developer/builds/{project_id}",
            json={"build": {"ignore_steps": list(ignore_steps)}},
            headers={"Idempotency-Key": key or uuid4().hex},
        )
        assert response.status_code == 200, response.text
        launched = response.json()
        self._builds[launched["executor_id"]] = launched["build_id"]
        return str(launched["executor_id"])

    def build_id_of(self, executor_id: str) -> int:
        return self._builds[executor_id]

    def get_build(self, build: int | str) -> JsonObject:
        """Return a build by id or executor id. The result is empty while no gateway can answer."""
        number = build if isinstance(build, int) else self._builds[build]
        try:
            response = self.admin.get(f"/developer/builds/{number}")
        except httpx.TransportError:
            return {}
        assert response.status_code in {200, 503, 504}, response.text
        return dict(response.json()) if response.status_code == 200 else {}

    def wait_until_finished(self, build: int | str, within: float = 60) -> JsonObject:
        return self._wait_for_build(build, lambda found: bool(found.get("completed_at")), within)

    def wait_until_running(self, build: int | str, within: float = 60) -> JsonObject:
        return self._wait_for_build(build, lambda found: found.get("status") == "RUNNING", within)

    def _wait_for_build(self, build: int | str, reached: Callable[[JsonObject], bool], within: float) -> JsonObject:
        seen: list[JsonObject] = [{}]

        def look() -> bool:
            seen.append(self.get_build(build))
            return reached(seen[-1])

        wait_until(look, within, f"build {build} is still at {self.get_build(build)}")
        return seen[-1]

    def run_build(self, project_id: int, *ignore_steps: str, within: float = 60) -> JsonObject:
        return self.wait_until_finished(self.launch_build(project_id, *ignore_steps), within)

    def read_log(self, build_id: int) -> dict[str, str]:
        """Return all log sections of a finished build, in order, by step."""
        sections: dict[str, str] = {}
        step = "-1"
        while (response := self.admin.get(f"/developer/logs/{build_id}/{step}")).status_code == 200:
            step = response.json()["step"]
            assert step not in sections, f"{step} appears twice"
            sections[step] = response.json()["log"]
        assert response.json()["message"] == "LOG_NOT_FOUND", response.text
        return sections

    def read_live_log(self, executor_id: str, step: str = "-1", line_number: int = 0) -> JsonObject:
        """Return a page of a running build's live log. The result is empty if the build has no live log."""
        response = self.admin.get(f"/developer/logs/{executor_id}/{step}/{line_number}")
        return dict(response.json()) if response.status_code == 200 else {}


@contextmanager
def running_stack(
    folder: Path, *, replicas: int = 1, slots: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """Run all processes of Headrace on a data folder, and stop them after the block.

    `slots`: number of concurrent jobs of the agent. Default: one per CPU, but at least AGENT_SLOTS.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "GIT_"))}
    port = ports.find_free_port()
    environ = inherited | {
        "HEADRACE_DATA": str(folder),
        "HEADRACE_PORT": str(port),
        "HEADRACE_REPLICAS": str(replicas),
        **(environment or {}),
    }
    stack = RunningStack(folder, f"http://127.0.0.1:{port}", environ)
    try:
        stack.run_headrace("up", "--detach")
        if slots is not None:
            _set_agent_concurrency(stack, slots)
        password = environ.get("HEADRACE_ADMIN_PASSWORD") or (folder / "secrets" / "admin-password").read_text().strip()
        with stack.sign_in("admin", password) as stack.admin:
            yield stack
    finally:
        stack.run_headrace("down")


def _set_agent_concurrency(stack: RunningStack, slots: int) -> None:
    file = stack.data / "agent" / "config.json"
    [runner] = json.loads(file.read_text())["runners"]
    if runner["concurrency"] == slots:
        return
    file.write_text(json.dumps({"runners": [runner | {"concurrency": slots}]}))
    stack.restart_process("agent")
