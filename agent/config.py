"""What an agent remembers between its runs: a JSON file that only its owner may read."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """The configuration file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Config:
    url: str
    token: str = field(repr=False)
    id: int
    name: str
    system_id: str  # tells machines apart that share one token
    builds_dir: str
    concurrency: int = 1
    shell: str = "sh"
    grace_seconds: float = 5.0  # what running jobs get to finish after SIGTERM


def _usable(values: Mapping[str, Any]) -> Config:
    wanted = {name: values[name] for name in Config.__dataclass_fields__ if name in values}
    config = Config(**wanted)
    for each in fields(config):
        expected = (int, float) if each.type is float else each.type
        if not isinstance(getattr(config, each.name), expected):  # type: ignore[arg-type]
            raise TypeError(f"{each.name} must be of type {getattr(each.type, '__name__', each.type)}")
    if config.concurrency < 1:
        raise ValueError("concurrency must be at least 1")
    return config


def load(path: Path) -> Config:
    try:
        return _usable(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: register the agent first") from error
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be used: {error}") from error


def save(path: Path, config: Config) -> None:
    """Replace the file as a whole: a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(config), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
