"""What an agent remembers between its runs: a JSON file of runners that only its owner may read."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_origin

from agent.executors.docker_client import socket_path

EXECUTORS = ("auto", "shell", "docker")
PULL_POLICIES = ("always", "if-not-present", "never")
SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class ConfigError(Exception):
    """The configuration file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """How jobs with an image are run; edited in the file."""

    socket: str = ""  # default: DOCKER_HOST, or the usual one
    image: str = ""  # for jobs that name none
    pull_policy: str = "if-not-present"  # for jobs that say nothing of it
    auth_file: str = ""  # registry logins, in the form of docker's own config.json
    user: str = ""  # default: the image's
    memory: str = ""  # 512m, 2g; of each container
    cpus: float = 0.0  # 0: no limit
    pids: int = 4096
    cap_add: tuple[str, ...] = (
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
    )  # all others go
    volumes: tuple[str, ...] = ()  # host:container[:ro]; the engine's socket is refused

    @property
    def memory_bytes(self) -> int:
        number, unit = self.memory[:-1], self.memory[-1:].lower()
        return int(self.memory or 0) if unit in "0123456789" else int(number) * SIZE_UNITS[unit]

    def __post_init__(self) -> None:
        if self.pull_policy not in PULL_POLICIES:
            raise ValueError(f"docker.pull_policy must be one of {', '.join(PULL_POLICIES)}")
        if not re.fullmatch(r"(\d+[kmg]?)?", self.memory.lower()):
            raise ValueError("docker.memory must be a number with k, m or g")
        engine = Path(socket_path(self.socket)).resolve()
        for volume in self.volumes:
            source, colon, _ = volume.partition(":")
            if not colon or (source.startswith("/") and engine.is_relative_to(Path(source).resolve())):
                raise ValueError(f"docker.volumes: {volume!r} is no host:container, or gives away the engine's socket")


@dataclass(frozen=True, slots=True)
class Config:
    url: str
    token: str = field(repr=False)
    id: int
    name: str
    system_id: str  # tells machines apart that share one token
    builds_dir: str
    concurrency: int = 1
    shell: str = ""  # bash where there is one, else sh
    grace_seconds: float = 5.0  # what running jobs get to finish after SIGTERM
    executor: str = "shell"  # auto: docker for jobs with an image while an engine answers
    docker: DockerSettings = DockerSettings()
    cache_megabytes: int = 2048  # of all caches that jobs keep on this machine; 0: none are kept
    ca_file: str = ""  # authorities that sign the server's certificate; default: the system's

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor must be one of {', '.join(EXECUTORS)}")
        if self.concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        if self.cache_megabytes < 0:
            raise ValueError("cache_megabytes must be at least 0")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(
            **_check_types(
                cls, {**values, "docker": DockerSettings(**_check_types(DockerSettings, values.get("docker", {})))}
            )
        )


def _check_types(kind: type[Config] | type[DockerSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is known, and of the right type: a file may have been edited by hand."""
    found: dict[str, Any] = {}
    for each in fields(kind):
        if each.name not in values:
            continue
        value, expected = values[each.name], get_origin(each.type) or each.type
        if expected is tuple and isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = tuple(value)
        if not isinstance(value, (int, float) if expected is float else expected):  # type: ignore[arg-type]
            raise TypeError(f"{each.name} must be of type {getattr(expected, '__name__', expected)}")
        found[each.name] = value
    return found


def load(path: Path) -> tuple[Config, ...]:
    """At least one. A file that is itself a runner holds just that one."""
    try:
        content = json.loads(path.read_text())
        runners = content.get("runners", [content])
        if not runners:
            raise ConfigError(f"{path} holds no runner: register one first")
        return tuple(map(Config.from_json, runners))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: register the agent first") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def save(path: Path, *runners: Config) -> None:
    """Replace the file as a whole: a crash leaves the old one or the new one. Without runners it goes."""
    if not runners:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
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
