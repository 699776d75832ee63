"""An embedded stack with fake services, gateway and agent, controlled through the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.local.data_folder import DataFolder
from infra.local.stack_state import StackState
from tests.support.local_stack import fake_processes


@dataclass
class FakeStack:
    data: Path
    port: int
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, program: tuple[str, ...] = fake_processes.COMMAND) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*program, *command), env=self._environ(), capture_output=True, text=True, timeout=60, check=False
        )

    def headrace(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.run(*command, program=(sys.executable, "-m", "infra"))

    def start_in_foreground(self) -> subprocess.Popen[str]:
        command = (*fake_processes.COMMAND, "supervise")
        return subprocess.Popen(command, env=self._environ(), stdout=subprocess.PIPE, text=True)

    def processes(self) -> list[dict[str, Any]]:
        """Read the processes from the state file, because `headrace server status` takes half a second."""
        file = self.data / "run" / "processes.json"
        state = json.loads(file.read_text()) if file.exists() else {"processes": []}
        return list(state["processes"])

    def find_pid(self, name: str) -> int | None:
        return next((process["pid"] for process in self.processes() if process["name"] == name), None)

    def is_ready(self) -> bool:
        """Read the state file, because `headrace server status` takes half a second."""
        state = StackState.read(DataFolder(self.data))
        return state is not None and all(process.is_ready() for process in state.processes)

    def survivors(self) -> list[psutil.Process]:
        """Find the processes of this machine that have this stack's data folder in their environment or log to it.

        A forked process has no environment that others can read.
        """
        ours, logs = f"HEADRACE_DATA={self.data}", str(self.data / "logs")
        return [
            process
            for process in psutil.process_iter()
            if ours in environ_of(process) or output_of(process).startswith(logs)
        ]

    def fork_servers(self) -> list[psutil.Process]:
        supervisor = psutil.Process(int((self.data / "run" / "lock").read_text()))
        return [child for child in supervisor.children() if child.cmdline()[-1:] == ["fork-server"]]

    def _environ(self) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return foreign | {"HEADRACE_DATA": str(self.data), "HEADRACE_PORT": str(self.port)} | self.environ


def environ_of(process: psutil.Process) -> list[str]:
    try:
        return [f"{name}={value}" for name, value in process.environ().items()]
    except psutil.Error:  # ended, or owned by another user
        return []


def output_of(process: psutil.Process) -> str:
    """Return the file that the process writes its output to."""
    try:
        return str(Path(f"/proc/{process.pid}/fd/1").readlink())
    except OSError:  # ended, or owned by another user
        return ""


def read_environment(process: dict[str, Any]) -> Iterable[str]:
    """Return the environment of a process.

    The entries are `NAME=value`, or only values for a fake process, which sends its environment over HTTP.
    """
    if process["health"].endswith("/readyz"):
        return list(httpx.get(process["health"]).json().values())
    return environ_of(psutil.Process(process["pid"]))
