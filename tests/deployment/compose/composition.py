"""The composition of docker-compose.yml under a project name of its own, inspected with `docker`."""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.ports import find_free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
OUR_SERVICES = ("identity", "projects", "builds", "runners", "notifications", "gateway", "agent")
OTHER_SERVICES = ("mongo", "nats", "proxy")


def run_docker(*arguments: str, within: float = 120) -> str:
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=within)
    assert result.returncode == 0, f"docker {' '.join(arguments)}: {result.stdout[-2000:]}{result.stderr[-4000:]}"
    return result.stdout


def find_skip_reason() -> str:
    """Return why the composition cannot run on this machine, or an empty string. Missing images are pulled."""
    if not os.environ.get("HEADRACE_COMPOSE_TEST"):
        return "builds an image and starts many containers; run it with `make compose-test`"
    try:
        run_docker("compose", "version")
        run_docker("info")
        images = run_docker("compose", "--project-directory", str(ROOT), "config", "--images").split()
        for image in {*images} - {Composition.image, "headrace:latest"}:
            if not run_docker("image", "ls", "--quiet", image).strip():
                run_docker("pull", "--quiet", image, within=600)
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        return f"Docker is unavailable: {str(error).strip()}"
    return ""


@dataclass(frozen=True)
class Composition:
    project: str
    port: int
    image = "headrace:compose-test"

    @classmethod
    def new(cls) -> "Composition":
        return cls(f"headrace-test-{os.getpid()}", find_free_port())

    def run_compose(self, *arguments: str, within: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            ["docker", "compose", "--project-name", self.project, *arguments],
            cwd=ROOT,
            env=os.environ | {"HEADRACE_IMAGE": self.image, "HEADRACE_PORT": str(self.port)},
            capture_output=True,
            text=True,
            timeout=within,
            stdin=subprocess.DEVNULL,
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.stdout[-4000:]}{result.stderr[-4000:]}"
        return result

    def run_demo(self) -> str:
        return self.run_compose("run", "--rm", "--no-deps", "demo").stdout

    def run_in_job(self, script: Iterable[str]) -> str:
        """Run the script as the first step of a build of the demo's repository. Return the output of the demo."""
        text = "".join(f"{line}\n" for line in script)
        replaced = f"from infra.demo import repository; repository.SAMPLE_FILES['ci/test.sh'] = {text!r}"
        program = f"{replaced}; from infra.cli import main; main()"
        command = ("run", "--rm", "--no-deps", "--entrypoint", "python", "demo", "-c", program, "demo")
        output = self.run_compose(*command, check=False).stdout
        return "\n".join(line.strip().removeprefix("| ") for line in output.splitlines())

    def run_inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        return self.run_compose("exec", "--no-TTY", service, *command, check=False)

    def inspect_containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return the `docker inspect` objects of running and stopped containers, of one service or of all."""
        filters = [f"label=com.docker.compose.project={self.project}"]
        filters += [f"label=com.docker.compose.service={service}"] if service else []
        ids = run_docker(
            "ps", "--all", "--quiet", *(part for condition in filters for part in ("--filter", condition))
        ).split()
        return list(json.loads(run_docker("inspect", *ids))) if ids else []

    def read_log_lines(self, service: str) -> list[str]:
        """Return what all containers of the service wrote; unlike `docker compose logs`, without control characters."""
        lines: list[str] = []
        for container in self.inspect_containers(service):
            command = ["docker", "logs", container["Id"]]
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
            lines += result.stdout.splitlines()
        return lines

    def kill_container(self, service: str) -> None:
        """Kill all processes in one container of the service. Wait until Docker has restarted it and it is healthy."""
        [before, *_] = self.inspect_containers(service)
        subprocess.run(["docker", "exec", before["Id"], "bash", "-c", "kill -9 -1"], capture_output=True, timeout=30)

        def back() -> bool:
            [now] = json.loads(run_docker("inspect", before["Id"]))
            return bool(now["RestartCount"] > before["RestartCount"] and now["State"]["Health"]["Status"] == "healthy")

        wait_until(back, within=90, message=f"{service} did not restart")

    def list_leftovers(self) -> list[str]:
        """Return the ids or names of the project's remaining containers, volumes and networks."""
        of_project = ("--quiet", "--filter", f"label=com.docker.compose.project={self.project}")
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [name for kind in kinds for name in run_docker(*kind, *of_project).split()]
