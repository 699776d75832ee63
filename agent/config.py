"""The agent's configuration file: JSON with its runners and their tokens, readable by its owner only."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Self, get_origin

from agent.executors.docker_client import socket_path
from agent.executors.kubernetes.settings import KubernetesSettings
from agent.processes.control_groups import CPU_PERIOD_MICROSECONDS

EXECUTORS = ("docker", "kubernetes", "shell")
OLD_EXECUTORS = {"auto": "docker"}  # `auto` of older files could choose the shell, which needs an explicit choice
PULL_POLICIES = ("always", "if-not-present", "never")
SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class ConfigError(Exception):
    """The configuration file is missing or invalid."""


@dataclass(frozen=True, slots=True)
class DockerSettings:
    socket: str = ""  # path of the Docker socket; default: DOCKER_HOST, else /var/run/docker.sock
    image: str = ""  # default image of jobs
    pull_policy: str = "if-not-present"  # default pull policy of jobs
    auth_file: str = ""  # file with registry logins, in the format of Docker's config.json
    user: str = ""  # user that runs the steps; default: the user of the image
    memory: str = "4g"  # limit of each container, such as 512m or 2g; empty: no limit
    cpus: float = 2.0  # limit of each container; 0: no limit
    pids: int = 4096  # maximum number of processes in each container
    # capabilities of containers; all others are dropped
    cap_add: tuple[str, ...] = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
    volumes: tuple[str, ...] = ()  # mounts, as host:container[:ro]; mounting the Docker socket is refused
    # image, with bash and iproute2, of the containers that keep jobs from private networks; default: the image of the
    # agent's container; an agent outside of containers has no default: jobs reach all networks of this machine
    sandbox_image: str = ""
    allowed_networks: tuple[str, ...] = ()  # private networks that jobs may reach, such as 10.1.2.3/32

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes; 0: no limit."""
        number, unit = self.memory[:-1], self.memory[-1:].lower()
        return int(self.memory or 0) if unit in "0123456789" else int(number) * SIZE_UNITS[unit]

    def __post_init__(self) -> None:
        if self.pull_policy not in PULL_POLICIES:
            raise ValueError(f"docker.pull_policy must be one of {', '.join(PULL_POLICIES)}")
        if not re.fullmatch(r"(\d+[kmg]?)?", self.memory.lower()):
            raise ValueError("docker.memory must be a number, optionally followed by k, m or g")
        for network in self.allowed_networks:
            ip_network(network)
        engine = Path(socket_path(self.socket)).resolve()
        for volume in self.volumes:
            source, colon, _ = volume.partition(":")
            if not colon or (source.startswith("/") and engine.is_relative_to(Path(source).resolve())):
                raise ValueError(
                    f"docker.volumes: {volume!r} must be host:container and must not contain the Docker socket"
                )


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of each archive of artifacts or caches; 0: no limit."""

    download_megabytes: int = 4096  # size of an archive of artifacts
    megabytes: int = 16384  # unpacked size
    entries: int = 200_000  # number of files, folders and links
    ratio: int = 200  # unpacked size divided by the size of the archive

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 0:
                raise ValueError(f"archives.{item.name} must be at least 0")


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits (setrlimit) of the processes of shell jobs and of git; 0: the agent's own limit."""

    memory_megabytes: int = 0  # address space of each process
    processes: int = 0  # processes and threads of the user who runs the program; no effect on root
    cpu_seconds: int = 0  # CPU time of each process
    open_files: int = 0  # open files of each process
    file_megabytes: int = 0  # size of each file

    @property
    def by_name(self) -> dict[str, int]:
        """The limits that are set, by their name in `resource` without `RLIMIT_`."""
        values = {
            "AS": self.memory_megabytes * 1024 * 1024,
            "NPROC": self.processes,
            "CPU": self.cpu_seconds,
            "NOFILE": self.open_files,
            "FSIZE": self.file_megabytes * 1024 * 1024,
        }
        return {name: value for name, value in values.items() if value}

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 0:
                raise ValueError(f"limits.{item.name} must be at least 0")


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits (cgroup v2) of all processes of a shell job together; 0: no limit."""

    memory_megabytes: int = 0
    processes: int = 0  # processes and threads
    cpus: float = 0.0  # number of CPUs, such as 1.5

    @property
    def by_file(self) -> dict[str, str]:
        """The limits that are set: files of a control group and their contents."""
        quota = f"{int(self.cpus * CPU_PERIOD_MICROSECONDS)} {CPU_PERIOD_MICROSECONDS}"
        files = {
            "memory.max": str(self.memory_megabytes * 1024 * 1024) if self.memory_megabytes else "",
            "memory.swap.max": "0" if self.memory_megabytes else "",
            "pids.max": str(self.processes) if self.processes else "",
            "cpu.max": quota if self.cpus else "",
        }
        return {file: content for file, content in files.items() if content}

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 0:
                raise ValueError(f"job_limits.{item.name} must be at least 0")


SettingsGroup = DockerSettings | KubernetesSettings | ArchiveLimits | ProcessLimits | JobLimits


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one runner."""

    url: str
    token: str = field(repr=False)
    id: int
    name: str
    system_id: str  # identifies this machine among those that share the token
    builds_dir: str
    executor: str  # shell, docker or kubernetes; without a default, so that `shell` is an explicit choice
    concurrency: int = 1
    job_users: tuple[str, ...] = ()  # users that run the jobs of the executor shell, one for each concurrent job
    shell: str = ""  # runs the scripts; default: bash, else sh
    grace_seconds: float = 5.0  # time in which running jobs can finish after SIGTERM
    docker: DockerSettings = DockerSettings()
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    archives: ArchiveLimits = ArchiveLimits()
    limits: ProcessLimits = ProcessLimits()
    job_limits: JobLimits = JobLimits()
    cache_megabytes: int = 2048  # limit of all caches on this machine; 0: no caches
    git_config: tuple[str, ...] = field(default=(), repr=False)  # settings (key=value) of the agent's git commands
    mirror_megabytes: int = 8192  # limit of the mirrors of repositories on this machine; 0: no mirrors
    ca_file: str = ""  # CA certificates to trust; default: the system's

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}")
        if self.concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        if self.job_users and self.executor != "shell":
            raise ValueError("job_users is for the executor shell; set docker.user for containers")
        if self.job_users and len(self.job_users) < self.concurrency:
            raise ValueError(f"job_users must name one user for each of {self.concurrency} concurrent jobs")
        if not all(re.fullmatch(r"[A-Za-z][\w-]*\..+?=.*", setting) for setting in self.git_config):
            raise ValueError("git_config must have settings such as http.proxy=http://proxy:3128")
        if min(self.cache_megabytes, self.mirror_megabytes) < 0:
            raise ValueError("cache_megabytes and mirror_megabytes must be at least 0")

    @property
    def git_settings(self) -> dict[str, str]:
        return {key: value for key, _, value in (setting.partition("=") for setting in self.git_config)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Create a configuration from a JSON object. Raises TypeError or ValueError if it is invalid."""
        groups: tuple[tuple[str, type[SettingsGroup]], ...] = (
            ("limits", ProcessLimits),
            ("job_limits", JobLimits),
            ("docker", DockerSettings),
            ("kubernetes", KubernetesSettings),
            ("archives", ArchiveLimits),
        )
        nested = {name: kind(**_check_types(kind, values.get(name, {}))) for name, kind in groups}
        executor = values.get("executor")
        renamed = {"executor": OLD_EXECUTORS[executor]} if executor in OLD_EXECUTORS else {}
        return cls(**_check_types(cls, {**values, **nested, **renamed}))


def _check_types(kind: type[Config | SettingsGroup], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of known fields. Raises TypeError for a wrong type: users may edit the file."""
    checked: dict[str, Any] = {}
    for item in fields(kind):
        if item.name not in values:
            continue
        value, expected = values[item.name], get_origin(item.type) or item.type
        if expected is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = tuple(value)
        if not isinstance(value, (int, float) if expected is float else expected):  # type: ignore[arg-type]
            raise TypeError(f"{item.name} must be of type {getattr(expected, '__name__', expected)}")
        checked[item.name] = value
    return checked


def load(path: Path) -> tuple[Config, ...]:
    """Return the runners in the file, at least one. Raises ConfigError.

    A file may also consist of the settings of a single runner.
    """
    try:
        content = json.loads(path.read_text())
        runners = content.get("runners", [content])
        if not runners:
            raise ConfigError(f"{path} has no runner: register one first")
        return tuple(map(Config.from_json, runners))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: register the agent first") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def load_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a JSON file. Raises ConfigError."""
    try:
        settings = json.loads(path.read_text())
        return dict(settings.items())
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def save(path: Path, *runners: Config) -> None:
    """Replace the file atomically. Without runners, delete it."""
    if not runners:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"runners": [asdict(runner) for runner in runners]}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
