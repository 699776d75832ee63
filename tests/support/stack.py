"""A whole local stack, started and stopped as an operator would do it, and used over HTTP as everybody does."""

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
from infra.local.folder import DataFolder
from infra.local.nats import with_login
from infra.local.state import Running
from tests.support.repositories import SPEC, sample_repository

__all__ = ["Answer", "RunningStack", "running_stack", "sample_repository", "until"]

HEADRACE = (sys.executable, "-m", "infra")
SERVICES = ("identity", "projects", "builds", "runners", "notifications")

Answer = dict[str, Any]
T = TypeVar("T")


def until(wanted: Callable[[], T], within: float = 30, what: str = "it did not happen in time") -> T:
    """Ask again until the answer is true in Python's sense."""
    deadline = time.monotonic() + within
    while not (found := wanted()):
        assert time.monotonic() < deadline, what
        time.sleep(0.03)
    return found


@dataclass
class RunningStack:
    data: Path
    url: str
    environ: Mapping[str, str] = field(repr=False)
    admin: httpx.Client = field(repr=False, default_factory=httpx.Client)
    _builds: dict[str, int] = field(default_factory=dict)  # by executor id

    # ---- the command line

    def headrace(self, *command: str, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            (*HEADRACE, *command), env={**self.environ, **environ}, capture_output=True, text=True, timeout=120
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def status(self) -> list[Answer]:
        return list(json.loads(self.headrace("status", "--json", check=False).stdout))

    # ---- its processes

    def _processes(self) -> dict[str, Answer]:
        """By the state file: the command line would take half a second each time."""
        state = json.loads((self.data / "run" / "processes.json").read_text())
        return {process["name"]: process for process in state["processes"]}

    def names(self) -> list[str]:
        return list(self._processes())

    def pid(self, name: str) -> int:
        """Waits while the process is being started again."""
        return until(lambda: int(self._processes()[name]["pid"] or 0), what=f"{name} did not start")

    def ready(self, name: str) -> bool:
        return Running(**self._processes()[name]).ready()

    def settle(self, within: float = 60) -> None:
        """Wait until all are ready."""
        deadline = time.monotonic() + within
        while missing := [name for name in self._processes() if not self.ready(name)]:
            assert time.monotonic() < deadline, f"not ready: {missing}"
            time.sleep(0.1)

    def end(self, name: str, number: int = signal.SIGTERM, within: float = 30) -> float:
        """Signal the process; returns how many seconds it took to leave."""
        before = self.pid(name)
        begun = time.monotonic()
        os.kill(before, number)
        until(lambda: self._processes()[name]["pid"] != before, within, f"{name} did not leave")
        return time.monotonic() - begun

    def restart(self, name: str, number: int = signal.SIGTERM, within: float = 30) -> float:
        """As `end`, and wait until its successor is ready."""
        took = self.end(name, number, within)
        until(lambda: self.ready(name), within, f"{name} did not become ready again")
        return took

    def connections(self) -> list[str]:
        """The names of those who are connected to NATS."""
        health: str = self._processes()["nats-server"]["health"]
        found = httpx.get(health.replace("/healthz", "/connz"), trust_env=False).json()["connections"] or []
        return [connection.get("name", "") for connection in found]

    @property
    def mongodb_url(self) -> str:
        return str(self._processes()["mongod"]["url"])

    @property
    def nats_url(self) -> str:
        """With the operator's login."""
        return self.nats_for("migrate")

    def nats_for(self, login: str) -> str:
        return with_login(str(self._processes()["nats-server"]["address"]), DataFolder(self.data), login)

    def complaints(self) -> list[str]:
        """What the processes logged as errors, or died of."""
        words = ('"level": "ERROR"', '"level": "CRITICAL"', " ERROR ", " CRITICAL ")
        died = "Traceback (most recent call last)"
        return [
            f"{log.name}: {line}"
            for log in sorted((self.data / "logs").glob("*.log"))
            if log.stem not in {"mongod", "nats-server"}
            for line in log.read_text(errors="replace").splitlines()
            if any(word in line for word in words) or line.startswith(died)
        ]

    # ---- its API

    def client(self, token: str = "", **more: Any) -> httpx.Client:
        """Without kept connections, so that every request may meet another gateway."""
        return httpx.Client(
            base_url=f"{self.url}/api",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=20,
            trust_env=False,
            **more,
        )

    def log_in(self, username: str, password: str) -> httpx.Client:
        with self.client() as stranger:
            answer = stranger.post("/auth/token", json={"auth": {"username": username, "password": password}})
        assert answer.status_code == 200, answer.text
        return self.client(answer.json()["access_token"])

    def made(self, resource: str, **fields: Any) -> Answer:
        """Create one, `made("secret", name=...)`, as the administrator."""
        answer = self.admin.post(f"/admin/{resource}s", json={resource: fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    @cached_property
    def executor(self) -> int:
        """The number of the one that every new server has."""
        [default] = [one for one in self.admin.get("/developer/executors").json() if one["name"] == "default"]
        return int(default["id"])

    def project(self, repository: Path | str, **settings: Any) -> int:
        defaults = {
            "name": f"project {uuid4().hex[:8]}",
            "repository": str(repository),
            "branch": "main",
            "spec_file_path": f"/{SPEC}",
            "allow_concurrent_execution": True,
            "executor_id": self.executor,
        }
        return int(self.made("project", **defaults | settings)["id"])

    def shown(self, project_id: int) -> Answer:
        return dict(self.admin.get(f"/admin/projects/{project_id}").raise_for_status().json())

    def launch(self, project_id: int, *ignore_steps: str, key: str = "", client: httpx.Client | None = None) -> str:
        """Returns the executor id."""
        answer = (client or self.admin).post(
            f"/developer/builds/{project_id}",
            json={"build": {"ignore_steps": list(ignore_steps)}},
            headers={"Idempotency-Key": key or uuid4().hex},
        )
        assert answer.status_code == 200, answer.text
        launched = answer.json()
        self._builds[launched["executor_id"]] = launched["build_id"]
        return str(launched["executor_id"])

    def build_id(self, executor_id: str) -> int:
        return self._builds[executor_id]

    def build(self, build: int | str) -> Answer:
        """By its number or by its executor id; empty while the stack cannot tell."""
        number = build if isinstance(build, int) else self._builds[build]
        try:
            answer = self.admin.get(f"/developer/builds/{number}")
        except httpx.TransportError:  # the gateway that was asked is just leaving
            return {}
        assert answer.status_code in {200, 503, 504}, answer.text
        return dict(answer.json()) if answer.status_code == 200 else {}

    def finished(self, build: int | str, within: float = 60) -> Answer:
        """The build, once it is over."""
        return self._awaited(build, lambda found: bool(found.get("completed_at")), within)

    def running(self, build: int | str, within: float = 60) -> Answer:
        """The build, once a runner works on it."""
        return self._awaited(build, lambda found: found.get("status") == "RUNNING", within)

    def _awaited(self, build: int | str, reached: Callable[[Answer], bool], within: float) -> Answer:
        seen: list[Answer] = [{}]

        def look() -> bool:
            seen.append(self.build(build))
            return reached(seen[-1])

        until(look, within, f"build {build} stays at {self.build(build)}")
        return seen[-1]

    def run(self, project_id: int, *ignore_steps: str, within: float = 60) -> Answer:
        """Launch a build and wait for its end."""
        return self.finished(self.launch(project_id, *ignore_steps), within)

    def log(self, build_id: int) -> dict[str, str]:
        """All sections of a finished build's log, in their order."""
        sections: dict[str, str] = {}
        step = "-1"
        while (answer := self.admin.get(f"/developer/logs/{build_id}/{step}")).status_code == 200:
            step = answer.json()["step"]
            assert step not in sections, f"{step} comes twice"
            sections[step] = answer.json()["log"]
        assert answer.json()["message"] == "LOG_NOT_FOUND", answer.text
        return sections

    def live(self, executor_id: str, step: str = "-1", line_number: int = 0) -> Answer:
        """One look at the log of a build that is not over; empty when it is."""
        answer = self.admin.get(f"/developer/logs/{executor_id}/{step}/{line_number}")
        return dict(answer.json()) if answer.status_code == 200 else {}


@contextmanager
def running_stack(
    folder: Path, *, replicas: int = 2, slots: int = 4, environment: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """All processes of Headrace on a data folder, from when they are ready until all are gone."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "GIT_"))}
    port = ports.free_port()
    environ = foreign | {
        "HEADRACE_DATA": str(folder),
        "HEADRACE_PORT": str(port),
        "HEADRACE_REPLICAS": str(replicas),
        **(environment or {}),
    }
    stack = RunningStack(folder, f"http://127.0.0.1:{port}", environ)
    try:
        stack.headrace("up", "--detach")
        _give_slots(stack, slots)
        password = environ.get("HEADRACE_ADMIN_PASSWORD") or (folder / "secrets" / "admin-password").read_text().strip()
        with stack.log_in("admin", password) as stack.admin:
            yield stack
    finally:
        stack.headrace("down")


def _give_slots(stack: RunningStack, slots: int) -> None:
    file = stack.data / "agent" / "config.json"
    [runner] = json.loads(file.read_text())["runners"]
    file.write_text(json.dumps({"runners": [runner | {"concurrency": slots}]}))
    stack.restart("agent")
